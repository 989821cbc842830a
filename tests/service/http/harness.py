"""Our server in the test's own loop, or Hypercorn as it comes in a process, around a small app.

    python -m tests.service.http.harness CONFIG_AS_JSON

is the latter: in a test's loop it would leave warnings behind, which are errors.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets
from hypercorn.utils import wrap_app

from service.http.limits import HttpLimits
from service.http.serve import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Message, Receive, Scope, Send

WAIT_S = 5.0
"""No test waits longer for anything."""


class App:
    """Paths: /hello, /echo, /refuse, /hold, /wait, /deaf, /big/N, /drip, /crash, /crash-later, /silent,
    /release, /pushed and /left."""

    def __init__(self) -> None:
        self.release = anyio.Event()
        """Lets /hold answer."""
        self.num_pushed = 0
        """Bytes that /big has been able to send."""
        self.num_started = 0
        self.num_running = 0
        self.num_left = 0
        """Requests that have heard `http.disconnect` while they held."""
        self.changed = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            await _echo_websocket(receive, send)
            return
        self.num_started += 1
        self.num_running += 1
        self._note()
        try:
            await self._answer(scope["path"], receive, send)
        finally:
            self.num_running -= 1
            self._note()

    async def until(self, what: Any) -> None:
        """Until `what()` is true."""
        with anyio.fail_after(WAIT_S):
            while not what():
                self.changed = anyio.Event()
                await self.changed.wait()

    def _note(self) -> None:
        self.changed.set()

    async def _answer(self, path: str, receive: Receive, send: Send) -> None:
        name, _, argument = path.strip("/").partition("/")
        match name:
            case "echo":
                body = b""
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        self.num_left += 1
                        return
                    body += message["body"]
                    more = message["more_body"]
                await _reply(send, 200, b"%d" % len(body))
            case "refuse":
                await _reply(send, 413, b"too much")
            case "hold":
                await self._hold(receive, send)
            case "wait":
                if (await receive())["type"] == "http.request":
                    assert (await receive())["type"] == "http.disconnect"
                self.num_left += 1
            case "deaf":
                await self.release.wait()
                await _reply(send, 200, b"never read")
            case "big":
                await self._big(int(argument), send)
            case "drip":
                await _start(send, 200)
                for index in range(int(argument or 20)):
                    await send(_body(b"%04d" % index))
                    await anyio.lowlevel.checkpoint()
                await send({"type": "http.response.body", "body": b""})
            case "crash":
                raise RuntimeError("a crash before the answer")
            case "crash-later":
                await _start(send, 200)
                await send(_body(b"half"))
                raise RuntimeError("a crash in the middle")
            case "silent":
                return
            case "release":
                self.release.set()
                await _reply(send, 200, b"")
            case "left":
                await _reply(send, 200, b"%d" % self.num_left)
            case "pushed":
                await _reply(send, 200, b"%d" % self.num_pushed)
            case _:
                await _reply(send, 200, b"hello")

    async def _hold(self, receive: Receive, send: Send) -> None:
        await _start(send, 200)
        await send(_body(b"held "))
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.num_left += 1
                self._note()
                tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            await self.release.wait()
            tasks.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"done"})

    async def _big(self, num_bytes: int, send: Send) -> None:
        await _start(send, 200)
        chunk = b"x" * 16384
        left = num_bytes
        while left > 0:
            await send(_body(chunk[:left]))
            self.num_pushed += min(left, len(chunk))
            left -= len(chunk)
            self._note()
        await send({"type": "http.response.body", "body": b""})


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _start(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})


async def _reply(send: Send, status: int, body: bytes) -> None:
    await _start(send, status)
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _echo_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"].upper()})


class Site:
    """A running server."""

    def __init__(self, port: int, app: App | None = None) -> None:
        self.port = port
        self._app = app
        self.stop = anyio.Event()
        """Set it to tell the server to stop."""
        self.stopped = anyio.Event()

    @property
    def app(self) -> App:
        """Of our server only."""
        assert self._app is not None
        return self._app

    async def ask(self, path: str) -> bytes:
        """The body of an answer over a connection of its own."""
        with anyio.fail_after(WAIT_S):
            async with await anyio.connect_tcp("127.0.0.1", self.port) as socket:
                await socket.send(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
                return (await read_all(socket)).partition(b"\r\n\r\n")[2]


async def read_all(socket: anyio.abc.ByteReceiveStream) -> bytes:
    """Until the other side has nothing more to say."""
    read = b""
    try:
        while True:
            read += await socket.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return read


def config_of(fields: dict[str, int]) -> Config:
    """Hypercorn's, quiet and bound to nothing."""
    config = Config()
    config.bind = []
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = None
    config.h11_max_incomplete_size = 16 * 1024
    config.graceful_timeout = WAIT_S
    for name, value in fields.items():
        setattr(config, name, value)
    return config


@asynccontextmanager
async def serving(*, send_buffer_bytes: int | None = None, **limits: Any) -> AsyncIterator[Site]:
    """Our server; it has stopped when the block is left. The kernel keeps up to so many bytes of
    an answer that nobody reads; else megabytes."""
    app = App()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        if send_buffer_bytes is not None:  # what it accepts inherits it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        listener.setblocking(False)
        site = Site(listener.getsockname()[1], app)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                sockets = Sockets([], [listener], [])
                await serve(app, config_of({}), sockets, site.stop.wait, HttpLimits(**limits))
                site.stopped.set()

            tasks.start_soon(run)
            try:
                yield site
            finally:
                app.release.set()
                site.stop.set()
                with anyio.move_on_after(WAIT_S, shield=True):
                    await site.stopped.wait()
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving_shipped(**config: int) -> AsyncIterator[Site]:
    """Hypercorn as it comes."""
    command = [sys.executable, "-m", "tests.service.http.harness", json.dumps(config)]
    async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            with anyio.fail_after(4 * WAIT_S):
                yield Site(int(await process.stdout.receive()))
        finally:
            process.kill()


def main(fields: str) -> None:
    """Serve until killed; the port is the first line of the output."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        wrapped = wrap_app(App(), 0, "asgi")
        config = config_of(json.loads(fields))
        asyncio.run(worker_serve(wrapped, config, sockets=Sockets([], [listener], [])))


if __name__ == "__main__":
    main(sys.argv[1])
