"""One static API key: whoever lacks it gets 401 before anything of the request is read.

Decides from `scope["path"]` alone, which is what routing uses too: `request.url` is built from the
Host header, and a server that trusted it let `Host: x/health?` through (CVE-2026-48710). All that
is not listed as open is closed, `/metrics` included: an exception for loopback would open it to
the world behind any local proxy, and scrapers can send the key.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from service.errors import Unauthorized
from service.middleware.errors import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/openapi.json", "/docs"})

_POLICY_VIOLATION = 1008  # RFC 6455 7.4.1


class AuthMiddleware:
    """Lets everything through if `api_key` is None."""

    def __init__(self, app: ASGIApp, api_key: str | None) -> None:
        self._app = app
        self._digest = None if api_key is None else _digest(api_key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._digest is None or self._is_allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            error = Unauthorized("The API key is missing or wrong: send 'Authorization: Bearer …'.")
            await refuse(error, scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _is_allowed(self, scope: Scope) -> bool:
        if scope["type"] == "http" and (
            scope["path"] in OPEN_PATHS or scope["method"] == "OPTIONS"
        ):
            return True
        assert self._digest is not None
        return hmac.compare_digest(_digest(bearer_token(scope)), self._digest)


def bearer_token(scope: Scope) -> bytes:
    """The token of the one Authorization header; empty if it is absent, doubled or no Bearer."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return b""
    scheme, _, token = values[0].partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"bearer" else b""


def _digest(secret: bytes) -> bytes:
    """Digests are of one length, so that comparing them tells nothing of the key's."""
    return hashlib.sha256(secret).digest()
