"""`WireStream`: bodies of frames over a local socket. The thin shell around `wire`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import anyio

from engine.wire import BrokenWire, FrameSplitter

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable


@asynccontextmanager
async def open_wire(sock: socket.socket) -> AsyncIterator[WireStream]:
    """Speak frames over a connected socket, which the block then owns and closes."""
    transport, wire = await asyncio.get_running_loop().create_unix_connection(WireStream, sock=sock)
    try:
        yield wire
    finally:
        transport.close()


class WireStream(asyncio.Protocol):
    """One end of the socket pair; both ends read whole frames and write packed ones.

    A protocol of asyncio and not a byte stream of anyio, for each token passes here: the socket
    stays registered with the event loop, and neither a read nor a write costs a turn of it.
    """

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self._bodies: list[bytes] = []
        self._take: Callable[[bytes], None] | None = None
        self._end: Exception | None = None
        self._changed = anyio.Event()

    async def receive(self) -> bytes:
        """Wait for the first frame; `pump` gets the others.

        Raises:
            anyio.EndOfStream: the far end has closed, or has died.
            BrokenWire: the bytes are not ours.
        """
        while not self._bodies:
            await self._wait_for_change()
        return self._bodies.pop(0)

    async def pump(self, take: Callable[[bytes], None]) -> None:
        """Give each frame to `take` at the moment it comes; does not return.

        Raises:
            anyio.EndOfStream: the far end has closed, or has died.
            Exception: what `take` raised, or BrokenWire; the socket is closed then.
        """
        self._take = take
        self._give()
        while True:
            await self._wait_for_change()

    def write(self, packed: bytes) -> None:
        """Send a packed frame, at once if the socket takes it. Whatever it does not take waits in
        memory: commands are bounded by the client's limits, and frames by what was asked for.

        Raises:
            anyio.BrokenResourceError: the far end is gone.
        """
        if self._end is not None:
            raise anyio.BrokenResourceError
        self._transport.write(packed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._bodies += self._splitter.feed(data)
        except BrokenWire as error:
            self._break(error)
        self._give()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end = self._end or anyio.EndOfStream()
        self._changed.set()

    def _give(self) -> None:
        if self._take is not None:
            try:
                while self._bodies:
                    self._take(self._bodies.pop(0))
            except Exception as error:  # raised again by `pump`, whose caller's fault it is
                self._break(error)
        else:
            self._changed.set()

    def _break(self, error: Exception) -> None:
        self._end = error
        self._bodies.clear()
        self._transport.abort()
        self._changed.set()

    async def _wait_for_change(self) -> None:
        if self._end is not None:
            raise self._end
        self._changed = anyio.Event()
        await self._changed.wait()
