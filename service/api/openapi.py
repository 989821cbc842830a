"""`GET /openapi.json` and `GET /docs`: the API's document, for programs and for people.

Open without a key: they tell what the source tells, and limits. Both are made at the first request
for them, in a thread, so that a start does not wait and no stream stands still.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request


class OpenApi:
    """Answers 304 to whoever has it already."""

    def __init__(
        self, make_document: Callable[[], bytes], make_page: Callable[[], tuple[bytes, str]]
    ) -> None:
        """`make_page` gives the page and the Content-Security-Policy under which it works."""
        self._document = _Kept(lambda: _Content(make_document(), "application/json"))
        self._page = _Kept(lambda: _page_of(*make_page()))

    async def document(self, request: Request) -> Response:
        """The document."""
        return (await self._document.get()).answer(request)

    async def page(self, request: Request) -> Response:
        """The page, which asks for the document."""
        return (await self._page.get()).answer(request)


class _Content:
    def __init__(self, body: bytes, media_type: str, **headers: str) -> None:
        self._body = body
        self._media_type = media_type
        self._etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        self._headers = {
            "etag": self._etag,
            "cache-control": "no-cache",  # keep it, and ask whether it is still so
            "x-content-type-options": "nosniff",
        } | {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self, request: Request) -> Response:
        known = request.headers.get("if-none-match", "")
        if self._etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers, media_type=self._media_type)


class _Kept:
    """What is made once, when it is first asked for."""

    def __init__(self, make: Callable[[], _Content]) -> None:
        self._make = make
        self._made: _Content | None = None
        self._lock = anyio.Lock()

    async def get(self) -> _Content:
        async with self._lock:
            if self._made is None:
                self._made = await to_thread.run_sync(self._make)
            return self._made


def _page_of(body: bytes, policy: str) -> _Content:
    return _Content(
        body, "text/html", content_security_policy=policy, referrer_policy="no-referrer"
    )
