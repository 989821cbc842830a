"""Pieces of a page that stands alone: no script, nothing loaded, every text escaped."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = Path(__file__).with_name("page.css")
# Should a text of a server ever get through as markup, it still may load and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document. `parts` are HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{chr(10).join(part for part in parts if part)}</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """With a heading; "" if there is nothing in it."""
    content = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def plots(figures: Sequence[str]) -> str:
    """Figures beside each other; "" without any."""
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, is_text: bool = False) -> str:
    """The first column of numbers, or all of text, is at the left; "" without rows."""
    if not rows:
        return ""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [
        f'<tr><th scope="row">{escape(row[0])}</th>'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    ]
    thead = f"<thead><tr>{cells}</tr></thead>" if head else ""
    style = ' class="texts"' if is_text else ""
    return f'<div class="card scroll"><table{style}>{thead}<tbody>{"".join(lines)}</tbody></table></div>'


def folded(summary: str, content: str) -> str:
    """Shown when asked for; "" without content."""
    if not content:
        return ""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def warning(text: str) -> str:
    """A paragraph that is not overlooked."""
    return f'<p class="warning" role="note">{escape(text)}</p>'
