"""Serves an ASGI application on bound sockets until told to stop.

What Hypercorn's `worker_serve` does for one process, without UDP, and with our connections. Its
configuration, lifespan and WebSockets are used as they come.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import anyio
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

from service.http.connection import Connection, Site
from service.http.limits import HttpLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config, Sockets
    from hypercorn.typing import ASGIFramework
    from starlette.types import ASGIApp


async def serve(
    app: ASGIApp,
    config: Config,
    sockets: Sockets,
    shutdown_trigger: Callable[[], Awaitable[None]],
    limits: HttpLimits | None = None,
) -> None:
    """Serve until `shutdown_trigger` returns. Then connections retire, what runs on them finishes
    within `config.graceful_timeout` seconds, and the application's lifespan ends.

    Raises:
        ExceptionGroup: of Hypercorn's `LifespanFailureError`; the application does not start.
        LifespanTimeoutError: it does not start in time.
    """
    wrapped = wrap_app(cast("ASGIFramework", app), config.wsgi_max_body_size, "asgi")
    site = Site(app, wrapped, config, limits or HttpLimits(), WorkerContext(None))
    lifespan = Lifespan(wrapped, config, asyncio.get_running_loop(), site.state)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        connections = _Connections(site)
        servers = await connections.listen(sockets)
        try:
            await shutdown_trigger()
        finally:
            await site.context.terminated.set()
            for server in servers:
                server.close()
            await connections.end(config.graceful_timeout)
        await lifespan.wait_for_shutdown()
        tasks.cancel_scope.cancel()


class _Connections:
    """The tasks of open connections: asyncio's server begins them, nobody else ends them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: dict[asyncio.Task[None], Connection] = {}

    async def listen(self, sockets: Sockets) -> list[asyncio.Server]:
        """Accept on all of them."""
        config = self._site.config
        tls = config.create_ssl_context()
        servers = [
            await asyncio.start_server(self._serve, sock=each, backlog=config.backlog)
            for each in sockets.insecure_sockets
        ]
        servers += [
            await asyncio.start_server(
                self._serve,
                sock=each,
                backlog=config.backlog,
                ssl=tls,
                ssl_handshake_timeout=config.ssl_handshake_timeout,
            )
            for each in sockets.secure_sockets
        ]
        return servers

    async def end(self, timeout_s: float) -> None:
        """Let them finish, then cancel those that have not."""
        for connection in list(self._open.values()):
            connection.retire()
        if self._open:
            await asyncio.wait(self._open, timeout=timeout_s)
        for task, connection in list(self._open.items()):
            connection.cut()
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self._site, reader, writer)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open[task] = connection
        with suppress(asyncio.CancelledError):  # by `end`; asyncio would report it
            await connection.run()
        del self._open[task]
