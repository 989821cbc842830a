"""The page that shows the document: HTML with its style and script within, all of it ours.

Nothing is loaded from elsewhere, so it works without a network; its Content-Security-Policy names
the two by their hashes and allows nothing else to run.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

_FOLDER = files("service.openapi") / "assets"


def page() -> tuple[bytes, str]:
    """The page, and the policy under which it works."""
    html = _text("page.html")
    hashes = {}
    for mark, name in (("/* style */", "page.css"), ("/* script */", "page.js")):
        text = _text(name)
        assert html.count(mark) == 1
        html = html.replace(mark, text)
        hashes[name] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = (
        "default-src 'none'; "
        f"style-src 'sha256-{hashes['page.css']}'; script-src 'sha256-{hashes['page.js']}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    return html.encode(), policy


def _text(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")
