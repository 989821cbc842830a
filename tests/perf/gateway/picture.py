"""Draws a run as one self-contained SVG of bars, legible on light and on dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

# Pixels. The columns: who | bar | figure and note.
_WIDTH = 900
_MARGIN = 28
_BAR_LEFT = 270
_BAR_RIGHT = 690
_ROW = 24
_BAR = 14
_HEAD = 84
_PANEL_HEAD = 44
_PANEL_GAP = 18
_FOOT = 44

_STYLE = """
text{font-family:ui-sans-serif,-apple-system,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif;font-size:13px;fill:#1f2430}
.title{font-size:17px;font-weight:600}.strong{font-weight:600}.quiet{fill:#667085}.small{font-size:12px}
.card{fill:#ffffff;stroke:#d9dee7}.axis{stroke:#c3cad6}.whisker{stroke:#1f2430;stroke-width:1.5;fill:none}
.kvorum{fill:#7c5cd6}.hypercorn{fill:#e0962b}.uvicorn{fill:#2f7fe0}.none{fill:#8a94a6}
@media (prefers-color-scheme:dark){text{fill:#e6e9ef}.quiet{fill:#98a2b3}
.card{fill:#12161d;stroke:#2c3442}.axis{stroke:#3a4454}.whisker{stroke:#e6e9ef}
.kvorum{fill:#a58bf5}.hypercorn{fill:#f0b04f}.uvicorn{fill:#5aa2f7}.none{fill:#77839a}}
"""


class Bar(msgspec.Struct, frozen=True):
    """One bar: the median, and a whisker from the lowest to the highest round.

    `hue` is the name of the server. `value` None is a bar that could not be measured: its note
    says why.
    """

    who: str
    hue: str
    value: float | None
    low: float = 0.0
    high: float = 0.0
    note: str = ""


class Panel(msgspec.Struct, frozen=True):
    """Bars on one scale from zero."""

    title: str
    hint: str
    unit: str
    bars: list[Bar]


def draw_picture(title: str, subtitle: str, panels: Sequence[Panel], foot: str) -> str:
    """The panels below each other, as SVG text."""
    height = _HEAD + _FOOT + sum(_height(panel) for panel in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(_spoken(title, panels))}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="12"/>',
        _label(_MARGIN, 38, title, "title"),
        _label(_MARGIN, 60, subtitle, "quiet"),
    ]
    top = _HEAD
    for panel in panels:
        parts += _panel(panel, top)
        top += _height(panel)
    parts.append(_label(_MARGIN, height - 20, foot, "quiet small"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _height(panel: Panel) -> int:
    return _PANEL_HEAD + len(panel.bars) * _ROW + _PANEL_GAP


def _panel(panel: Panel, top: int) -> list[str]:
    first = top + _PANEL_HEAD
    bottom = first + len(panel.bars) * _ROW
    scale = max((max(bar.value or 0.0, bar.high) for bar in panel.bars), default=0.0) or 1.0
    parts = [
        _label(_MARGIN, top + 16, panel.title, "strong"),
        _label(_MARGIN, top + 34, panel.hint, "quiet small"),
    ]
    for index, bar in enumerate(panel.bars):
        parts += _bar(bar, panel.unit, first + index * _ROW + _ROW // 2, scale)
    return [*parts, f'<path class="axis" d="M{_BAR_LEFT} {first}V{bottom}"/>']


def _bar(bar: Bar, unit: str, middle: int, scale: float) -> list[str]:
    base = middle + 5
    parts = [_label(_BAR_LEFT - 12, base, bar.who, "", anchor="end")]
    if bar.value is None:
        return [*parts, _label(_BAR_LEFT + 10, base, bar.note or "not measured", "quiet small")]
    end = _x(bar.value, scale)
    parts.append(
        f'<rect class="{bar.hue}" x="{_BAR_LEFT}" y="{middle - _BAR // 2}" '
        f'width="{max(1.5, round(end - _BAR_LEFT, 1))}" height="{_BAR}" rx="2"/>'
    )
    if bar.high > bar.low:
        low, high = _x(bar.low, scale), _x(bar.high, scale)
        parts.append(
            f'<path class="whisker" d="M{low} {middle}H{high}M{low} {middle - 4}v8'
            f'M{high} {middle - 4}v8"/>'
        )
    text_left = max(end, _x(bar.high, scale)) + 10
    parts.append(
        f'<text x="{text_left}" y="{base}"><tspan class="strong">{_number(bar.value)} '
        f'{escape(unit)}</tspan><tspan class="quiet small" dx="8">{escape(bar.note)}</tspan></text>'
    )
    return parts


def _x(value: float, scale: float) -> float:
    return round(_BAR_LEFT + (_BAR_RIGHT - _BAR_LEFT) * min(value / scale, 1.0), 1)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _label(x: float, y: float, text: str, style: str, *, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _spoken(title: str, panels: Sequence[Panel]) -> str:
    said = [
        f"{panel.title}: {bar.who} {_number(bar.value)} {panel.unit}"
        for panel in panels
        for bar in panel.bars
        if bar.value is not None
    ]
    return f"{title}. {'; '.join(said)}"
