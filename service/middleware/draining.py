"""While the server drains: new API requests get 503, those that run are counted until they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import ShuttingDown
from service.middleware.errors import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.lifecycle import Lifecycle

_PREFIX = "/v1/"


class DrainingMiddleware:
    """Health and metrics pass: they are asked during a drain and must not hold it up."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
        elif self._lifecycle.is_shutting_down:
            error = ShuttingDown("The server is shutting down and takes no new requests.")
            await refuse(error, scope, receive, send)
        else:
            with self._lifecycle.answering():
                await self._app(scope, receive, send)
