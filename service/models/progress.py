"""`ModelProgress`: a load or an unload as server-sent events, one for each change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from engine.errors import EngineError
from service.disconnect import unless_disconnected
from service.errors import ApiError, envelope, of_engine_error
from service.exchange import Exchange
from service.sse import DONE, HEADERS, PING, event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from service.schemas.models import ModelObject

_TICK_S = 0.25
_PING_S = 10.0


class ModelProgress(Response):
    """The model each time that something of it has changed, then `[DONE]`, or an error. A load that
    has begun goes on without whoever asked for it."""

    def __init__(
        self,
        move: Callable[[], Awaitable[object]],
        tell: Callable[[], ModelObject],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = list(HEADERS)
        self._move = move
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end or until the client has left."""
        exchange = Exchange.of(scope)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            last = await unless_disconnected(receive, partial(self._stream, send))
        except ClientDisconnect:
            exchange.client_left = True
            return
        except ApiError as error:
            exchange.error_type = error.code
            last = event(envelope(error))
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _stream(self, send: Send) -> bytes:
        """Tell of all changes but the last; gives what is left to say."""
        faults: list[ApiError] = []

        async def move() -> None:
            try:
                await self._move()
            except EngineError as error:
                faults.append(of_engine_error(error))
            except ApiError as error:
                faults.append(error)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(move)
            await self._tell_changes(send)
        if faults:
            raise faults[0]
        return event(msgspec.json.encode(self._tell())) + DONE

    async def _tell_changes(self, send: Send) -> None:
        told, told_s = b"", anyio.current_time()
        while True:
            body = event(msgspec.json.encode(self._tell()))
            now_s = anyio.current_time()
            if body == told:
                body = PING if now_s - told_s > _PING_S else b""
            else:
                told = body
            if body:
                told_s = now_s
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await anyio.sleep(_TICK_S)
