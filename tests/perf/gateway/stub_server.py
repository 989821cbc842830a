"""A server process of the benchmark: the real application with the stub engine.

    python -m tests.perf.gateway.stub_server {kvorum,hypercorn,uvicorn} [CERTFILE KEYFILE]

It writes the number of its port as the first line of its output. The application, its settings and
its events are the same for all three; only what stands between the application and the socket
differs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, cast

import uvicorn
from hypercorn import protocol as hypercorn_protocol
from hypercorn.asyncio import serve as serve_stock
from hypercorn.config import Config

from engine.models.registry import resolve
from service.app import create_app
from service.server import bind, serve
from service.settings_load import load
from tests.perf.gateway.stub_engine import open_stub

if TYPE_CHECKING:
    import socket

    from hypercorn.typing import ASGIFramework

    from service.settings import Settings

_BACKLOG = 1024


def main(argv: list[str]) -> int:
    """Serve until killed."""
    kind, *certificate = argv
    flags = ["--port", "0"]
    if certificate:
        flags += ["--ssl-certfile", certificate[0], "--ssl-keyfile", certificate[1]]
    settings = load(flags, {}).settings
    listener = bind(settings.server)
    print(listener.getsockname()[1], flush=True)
    match kind:
        case "kvorum":
            return serve(settings, resolve(), listener, open_engine=open_stub)
        case "hypercorn":
            _serve_hypercorn(settings, listener)
        case "uvicorn":
            _serve_uvicorn(settings, listener)
        case _:
            raise SystemExit(f"there is no server {kind}")
    return 0


def _serve_hypercorn(settings: Settings, listener: socket.socket) -> None:
    """As shipped, but for limits that would cut a thousand streams on one connection."""
    shipped = "hypercorn.protocol.h2"
    if vars(hypercorn_protocol)["H2Protocol"].__module__ != shipped:
        raise SystemExit("this is not Hypercorn as shipped: its HTTP/2 class has been replaced")
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.backlog = _BACKLOG
    config.certfile = settings.server.ssl_certfile
    config.keyfile = settings.server.ssl_keyfile
    config.h2_max_concurrent_streams = 1024
    config.keep_alive_max_requests = 2**31
    config.errorlog = logging.getLogger("hypercorn.error")
    config.errorlog.setLevel(logging.WARNING)
    app = create_app(settings, resolve(), open_engine=open_stub)
    asyncio.run(serve_stock(cast("ASGIFramework", app), config))


def _serve_uvicorn(settings: Settings, listener: socket.socket) -> None:
    app = create_app(settings, resolve(), open_engine=open_stub)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        backlog=_BACKLOG,
        access_log=False,
        log_level="warning",
        ssl_certfile=settings.server.ssl_certfile,
        ssl_keyfile=settings.server.ssl_keyfile,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
