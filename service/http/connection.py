"""One socket: which protocol it speaks, its reads, its writes, and how long it may be silent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

import anyio
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.events import Closed, RawData
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError
from hypercorn.utils import parse_socket_addr

from service.http.h1_protocol import H1Protocol
from service.http.h2_protocol import H2Protocol
from service.http.h2_request import H2Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hypercorn.asyncio.worker_context import WorkerContext
    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.typing import AppWrapper
    from starlette.types import ASGIApp

    from service.http.limits import HttpLimits

# A read of pings takes milliseconds to answer: others have their turn after this much.
_MAX_READ_BYTES = 32 * 1024


class Site:
    """What all connections of a server share."""

    def __init__(
        self,
        app: ASGIApp,
        wrapped: AppWrapper,
        config: Config,
        limits: HttpLimits,
        context: WorkerContext,
    ) -> None:
        self.app = app
        self.wrapped = wrapped
        """The same application, as Hypercorn's classes want it."""
        self.config = config
        self.limits = limits
        self.context = context
        self.state: dict[str, Any] = {}
        """The lifespan's."""


class Peer:
    """Who is at the other end, and what serves it."""

    def __init__(self, site: Site, tasks: TaskGroup, writer: asyncio.StreamWriter) -> None:
        socket = writer.get_extra_info("socket")
        self.site = site
        self.tasks = tasks
        self.client = parse_socket_addr(socket.family, socket.getpeername())
        self.server = parse_socket_addr(socket.family, socket.getsockname())
        tls = writer.get_extra_info("ssl_object")
        self.is_tls = tls is not None
        self.alpn: str | None = None if tls is None else tls.selected_alpn_protocol()


class Connection:
    """A `Wire` for its protocol. Ends when the client, the protocol or silence ends it."""

    def __init__(
        self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._site = site
        self._limits = site.limits
        self._reader = reader
        self._writer = writer
        self._transport = cast("asyncio.Transport", writer.transport)
        _, self._max_held_bytes = self._transport.get_write_buffer_limits()
        self._loop = asyncio.get_running_loop()
        self._tasks: TaskGroup
        self._protocol: H1Protocol | H2Protocol
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False

    async def run(self) -> None:
        """Serve it to its end, applications included."""
        try:
            async with TaskGroup(self._loop) as self._tasks:
                self._peer = Peer(self._site, self._tasks, self._writer)
                if self._peer.alpn == "h2":
                    await self._speak_h2()
                else:
                    self._protocol = H1Protocol(self._peer, self)
                self.set_idle(True)
                if self._site.context.terminated.is_set():
                    self.retire()
                await self._read()
                await self._protocol.handle(Closed())
        except OSError:
            pass  # it left before we knew its address
        finally:
            await self._close()

    def retire(self) -> None:
        """End it when what runs on it has ended."""
        self._protocol.retire()

    def cut(self) -> None:
        """End it now, with what it has not sent."""
        self._transport.abort()

    # What the protocol sees

    @property
    def is_congested(self) -> bool:
        return self._transport.get_write_buffer_size() > self._max_held_bytes

    def write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._writer.write(data)

    async def wait_for_room(self) -> None:
        """Until the socket takes more; one that takes nothing for `max_stall_s` is cut."""
        while self.is_congested and not self._transport.is_closing():
            held_bytes = self._transport.get_write_buffer_size()
            with (
                anyio.move_on_after(self._limits.max_stall_s) as waited,
                contextlib.suppress(OSError),  # it is lost, which the reader sees, too
            ):
                await self._writer.drain()
            if waited.cancelled_caught and self._transport.get_write_buffer_size() >= held_bytes:
                self._transport.abort()

    def close(self) -> None:
        """Say that nothing follows, then read on for a while without looking: a socket that is
        closed with data unread takes back what it has sent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._cancel_timer()
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError):
                self._transport.write_eof()
            self._timer = self._loop.call_later(self._limits.linger_s, self._close_at_last)
        else:
            self._close_at_last()

    def _close_at_last(self) -> None:
        """`close` waits for a reader to take what is buffered; one that never reads is cut off."""
        self._transport.close()
        self._timer = self._loop.call_later(self._limits.max_stall_s, self._transport.abort)

    def set_idle(self, is_idle: bool) -> None:
        """Idle connections retire after `idle_s`; a request makes one busy."""
        if self._is_closing:
            return
        self._cancel_timer()
        if is_idle:
            self._timer = self._loop.call_later(self._limits.idle_s, self.retire)

    def spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        self._tasks.spawn(work, *args)

    # The socket

    async def _read(self) -> None:
        """Until the client has nothing more to say."""
        while True:
            try:
                data = await self._reader.read(_MAX_READ_BYTES)
            except OSError:  # TLS errors are among them
                return
            if not data:
                return
            if self._is_closing:
                continue
            await self._handle(RawData(data))
            await asyncio.sleep(0)  # a read that finds more does not wait

    async def _handle(self, event: Event) -> None:
        try:
            await self._protocol.handle(event)
        except H2ProtocolAssumedError as found:
            await self._speak_h2()
            await self._protocol.handle(RawData(found.data))
        except H2CProtocolRequiredError as asked:
            await self._speak_h2(asked.headers, asked.settings)
            if asked.data:
                await self._protocol.handle(RawData(asked.data))

    async def _speak_h2(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        protocol = H2Protocol(self, self._limits, H2Requests(self._peer).open)
        self._protocol = protocol
        await protocol.initiate(headers, settings)

    async def _close(self) -> None:
        self._is_closing = True
        self._cancel_timer()
        self._writer.close()
        with anyio.move_on_after(self._limits.max_stall_s), contextlib.suppress(OSError):
            await self._writer.wait_closed()
        self._transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
