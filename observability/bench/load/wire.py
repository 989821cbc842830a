"""`Wire`: a socket, plain or TLS, that knows when its bytes came.

An asyncio protocol and not a stream of anyio's: that one asks epoll anew for each read and takes
256 KiB of fresh memory for it, which costs more than all else that is done for a token; and the
time here is taken at the read, not when a waiting task has its turn. It never raises for a lost
connection: that is an end, with a reason.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, cast

from observability.bench.load.connection import RequestFailed

if TYPE_CHECKING:
    import ssl

    from observability.bench.load.address import Address

_MAX_WAITING_BYTES = 2**22
_HAPPY_EYEBALLS_S = 0.25


class Wire(asyncio.BufferedProtocol):
    """One task reads from it at a time, and one writes."""

    def __init__(self, buffer: bytearray) -> None:
        """All wires of a loop may share the buffer: it is copied from at once."""
        self.reason = "the server closed the connection"
        self._buffer = memoryview(buffer)
        self._transport: asyncio.Transport
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._num_waiting_bytes = 0
        self._is_ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_full = False
        self._end_s = 0.0

    @property
    def is_quiet(self) -> bool:
        """Open, with nothing to read: what a kept connection has to be."""
        return not self._pieces and not self._is_ended

    @property
    def alpn(self) -> str | None:
        """The protocol that was agreed on by TLS."""
        found = self._transport.get_extra_info("ssl_object")
        return found.selected_alpn_protocol() if found else None

    async def receive(self) -> tuple[float, bytes]:
        """What came and when, by `time.monotonic`; b"" at the end."""
        while not self._pieces:
            if self._is_ended:
                return self._end_s, b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        piece = self._pieces.popleft()
        self._num_waiting_bytes -= len(piece[1])
        if not self._pieces and not self._transport.is_reading() and not self._is_ended:
            self._transport.resume_reading()
        return piece

    async def send(self, data: bytes) -> None:
        """Wait until the kernel has taken nearly all. Into a lost connection nothing is sent."""
        if self._is_ended:
            return
        self._transport.write(data)
        while self._is_full and not self._is_ended:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    def close(self) -> None:
        """At once; what is unsent is dropped."""
        self._end("the connection was closed")
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._pieces.append((time.monotonic(), bytes(self._buffer[:nbytes])))
        self._num_waiting_bytes += nbytes
        if self._num_waiting_bytes > _MAX_WAITING_BYTES:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        self._end(self.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else self.reason)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writer)

    def _end(self, reason: str) -> None:
        if not self._is_ended:
            self._is_ended, self.reason, self._end_s = True, reason, time.monotonic()
        _wake(self._reader)
        _wake(self._writer)


async def connect(address: Address, tls: ssl.SSLContext | None, buffer: bytearray) -> Wire:
    """Raises `RequestFailed`."""
    try:
        _, wire = await asyncio.get_running_loop().create_connection(
            lambda: Wire(buffer),
            address.host,
            address.port,
            ssl=tls,
            happy_eyeballs_delay=_HAPPY_EYEBALLS_S,
        )
    except OSError as error:
        raise RequestFailed("connection", str(error)) from None
    return wire


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
