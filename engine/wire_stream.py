"""`WireStream`: bodies of frames over a local socket. The thin shell around `wire`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from engine.wire import FrameSplitter

if TYPE_CHECKING:
    from anyio.abc import ByteStream

_MAX_READ_BYTES = 1 << 18


class WireStream:
    """One end of the socket pair; both ends read whole frames and write packed ones."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._splitter = FrameSplitter()

    async def receive(self) -> list[bytes]:
        """Wait for at least one whole frame and take along all that have come with it.

        Raises:
            anyio.EndOfStream: the far end has closed, or has died.
            BrokenWire: the bytes are not ours.
        """
        while True:
            try:
                data = await self._stream.receive(_MAX_READ_BYTES)
            except anyio.BrokenResourceError:
                raise anyio.EndOfStream from None
            if bodies := self._splitter.feed(data):
                return bodies

    async def send(self, packed: bytes) -> None:
        """Write a packed frame. Raises anyio.BrokenResourceError if the far end is gone."""
        await self._stream.send(packed)
