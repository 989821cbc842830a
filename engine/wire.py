"""What travels on the socket between service and engine process: length-prefixed msgpack.

Pure: bytes in, bytes out. A frame is 4 bytes of length (little-endian) and a msgpack body. Towards
the engine the body is a list of encoded commands, back it is a `protocol.Frame`; the inner messages
stay encoded, so that a pump routes them without looking inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.protocol import Frame

MAX_FRAME_BYTES = 1 << 28
"""Far above any honest frame (1 000 000 prompt tokens are 4 MB): more is a broken stream."""

_LENGTH_BYTES = 4

_encode = msgspec.msgpack.Encoder().encode
_commands_decoder: msgspec.msgpack.Decoder[list[bytes]] = msgspec.msgpack.Decoder(list[bytes])
_frame_decoder: msgspec.msgpack.Decoder[list[tuple[str, bytes]]] = msgspec.msgpack.Decoder(
    list[tuple[str, bytes]]
)


class BrokenWire(Exception):
    """The bytes on the socket are not ours."""


def pack_commands(commands: Sequence[bytes]) -> bytes:
    """One frame towards the engine."""
    return pack_body(_encode(commands))


def pack_frame(frame: Frame) -> bytes:
    """One frame back from the engine."""
    return pack_body(_encode(frame))


def pack_body(body: bytes) -> bytes:
    """A frame around any body."""
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


class FrameSplitter:
    """Cuts a byte stream, in whatever pieces it comes, into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now. Raises BrokenWire on an absurd length."""
        buffer = self._buffer
        if not buffer and len(data) == _LENGTH_BYTES + int.from_bytes(data[:4], "little") > 4:
            return [data[_LENGTH_BYTES:]]  # nearly always: what one write sent is what one read got
        buffer += data
        bodies: list[bytes] = []
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "little")
            if length > MAX_FRAME_BYTES:
                raise BrokenWire(f"a frame of {length} bytes")
            end = start + _LENGTH_BYTES + length
            if len(buffer) < end:
                break
            bodies.append(bytes(buffer[start + _LENGTH_BYTES : end]))
            start = end
        del buffer[:start]
        return bodies


def unpack_commands(body: bytes) -> list[bytes]:
    """The encoded commands of a frame. Raises BrokenWire."""
    try:
        return _commands_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BrokenWire(str(error)) from error


def unpack_frame(body: bytes) -> Frame:
    """The addressed, encoded events of a frame. Raises BrokenWire."""
    try:
        return _frame_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BrokenWire(str(error)) from error
