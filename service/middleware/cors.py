"""CORS: lets web pages of other origins call the API and read its answers.

Starlette's middleware, which is pure ASGI, with a refusal that is OpenAI's envelope and says what
to change. It must lie outside the middleware that answers errors, the key's included: an answer
without its headers is hidden from the page, and browsers ask beforehand without the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.errors import BadRequest, quoted
from service.middleware.errors import refuse
from service.origins import ANY_ORIGIN, NO_ORIGIN, origins_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.settings import ServerSettings

EXPOSED_HEADERS = (
    "x-request-id",
    "x-trace-id",
    "openai-processing-ms",
    "warning",
    "retry-after",
    "x-should-retry",
    "www-authenticate",
    "allow",
)
"""What a page may read beside the few headers that it always may."""

# Not only what the API has: a 405 says more than an answer that the page may not read.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# A browser keeps what it was told for this long; Chrome not longer.
_MAX_AGE_S = 7200


class OriginMiddleware(CORSMiddleware):
    """`origins` are as `origins_of` gives them. Cookies and the like only where they are listed."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            # Each version of OpenAI's SDK sends more x-stainless-*, and no header opens anything.
            allow_headers=("*",),
            allow_credentials=not {ANY_ORIGIN, NO_ORIGIN} & set(origins),
            # A page on the internet that calls a server at home or in the company: the usual case.
            allow_private_network=True,
            expose_headers=EXPOSED_HEADERS,
            max_age=_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starlette refuses in plain text what a browser asks beforehand; this says why."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            is_preflight = "access-control-request-method" in headers
            if is_preflight and origin is not None and not self.is_allowed_origin(origin):
                await refuse(_not_allowed(origin), scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def _not_allowed(origin: str) -> BadRequest:
    message = f"Pages of {quoted(origin)} may not call this server: it is not in cors_origins."
    return BadRequest(message, code="origin_not_allowed", headers={"vary": "Origin"})


def cors(server: ServerSettings) -> list[Middleware]:
    """For the list of middleware; empty if CORS is off."""
    if not server.enable_cors:
        return []
    return [Middleware(OriginMiddleware, origins_of(server.cors_origins))]
