"""What waits to be sent on an HTTP/2 connection, and who sends next. Pure: no sockets, no clock.

Streams that may send stand in a queue; each sends one frame and stands at its end again, so a big
body delays a token by one frame a stream. A stream whose own window is used up leaves the queue
until its window opens; if the connection's window is used up, all keep their places.

DATA frames are built here: the h2 library takes longer for one frame than everything else that a
token costs. Its windows are the truth and are kept up to date, as its own sender would.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Protocol

import msgspec

_HEAD = struct.Struct(">HBBBL")  # RFC 9113 4.1: length (24 bits), type, flags, stream
_DATA = 0


class Windowed(Protocol):
    """A flow-control window of the peer's, as the h2 library keeps it. May be negative."""

    outbound_flow_control_window: int


class Turn(msgspec.Struct):
    """`pieces` go to the socket in this order; the streams of `done` then end."""

    pieces: list[bytes | bytearray]
    done: list[int]


class _Outgoing:
    """Invariant: in the queue if and only if `is_ready`; then `unsent` is not empty."""

    __slots__ = ("is_ending", "is_ready", "progress_s", "stream_id", "unsent", "window")

    def __init__(self, stream_id: int, window: Windowed) -> None:
        self.stream_id = stream_id
        self.window = window
        self.unsent = bytearray()
        self.is_ready = False
        self.is_ending = False
        self.progress_s = 0.0


class SendQueue:
    """The unsent bytes of all streams of a connection."""

    def __init__(self, connection: Windowed) -> None:
        self.num_bytes = 0
        """Unsent bytes of all streams."""
        self._connection = connection
        self._streams: dict[int, _Outgoing] = {}
        self._ready: deque[_Outgoing] = deque()
        self._done: list[int] = []

    @property
    def can_send(self) -> bool:
        """Whether `take` would return anything."""
        return bool(self._done) or (
            bool(self._ready) and self._connection.outbound_flow_control_window > 0
        )

    def open(self, stream_id: int, window: Windowed) -> None:
        """A stream begins to answer."""
        self._streams[stream_id] = _Outgoing(stream_id, window)

    def is_open(self, stream_id: int) -> bool:
        """Whether its end has not been taken yet."""
        return stream_id in self._streams

    def num_unsent(self, stream_id: int) -> int:
        """Bytes of a stream; 0 for one that is not open."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else len(stream.unsent)

    def push(self, stream_id: int, data: bytes, now_s: float) -> None:
        """More to send; `finish` must not have been called."""
        stream = self._streams[stream_id]
        assert not stream.is_ending
        if not stream.unsent:
            stream.progress_s = now_s
        stream.unsent += data
        self.num_bytes += len(data)
        self._make_ready(stream)

    def finish(self, stream_id: int) -> None:
        """Nothing more will be pushed; the stream is told as done when all of it is taken."""
        stream = self._streams[stream_id]
        stream.is_ending = True
        if not stream.unsent:
            self._end(stream)

    def drop(self, stream_id: int) -> None:
        """Forget a stream and what it has not sent; one that is not open is no matter."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        self.num_bytes -= len(stream.unsent)
        if stream.is_ready:
            self._ready.remove(stream)
        elif stream.is_ending and not stream.unsent:
            self._done.remove(stream_id)

    def window_opened(self, stream_id: int | None = None) -> None:
        """A stream's window may have grown, or with None every stream's."""
        if stream_id is None:
            for stream in self._streams.values():
                self._make_ready(stream)
        elif stream_id in self._streams:
            self._make_ready(self._streams[stream_id])

    def take(self, max_bytes: int, max_frame_bytes: int, now_s: float) -> Turn:
        """The next frames, in all `max_bytes` or one frame more. The windows shrink by them."""
        pieces: list[bytes | bytearray] = []
        connection = self._connection
        left = max_bytes
        while left > 0 and self._ready and connection.outbound_flow_control_window > 0:
            stream = self._ready.popleft()
            stream.is_ready = False
            size = min(
                len(stream.unsent),
                stream.window.outbound_flow_control_window,
                connection.outbound_flow_control_window,
                max_frame_bytes,
            )
            if size <= 0:  # its own window: `window_opened` brings it back
                continue
            pieces.append(_HEAD.pack(size >> 8, size & 0xFF, _DATA, 0, stream.stream_id))
            if size == len(stream.unsent):
                pieces.append(stream.unsent)
                stream.unsent = bytearray()
            else:
                pieces.append(stream.unsent[:size])
                del stream.unsent[:size]
            stream.window.outbound_flow_control_window -= size
            connection.outbound_flow_control_window -= size
            self.num_bytes -= size
            left -= size
            stream.progress_s = now_s
            if stream.unsent:
                self._make_ready(stream)
            elif stream.is_ending:
                self._end(stream)
        done, self._done = self._done, []
        for stream_id in done:
            del self._streams[stream_id]
        return Turn(pieces, done)

    def stalled(self, since_s: float) -> list[int]:
        """Streams with something to send that have sent nothing since then."""
        return [
            stream.stream_id
            for stream in self._streams.values()
            if stream.unsent and stream.progress_s <= since_s
        ]

    def check(self) -> None:
        """All invariants; raises AssertionError."""
        assert self.num_bytes == sum(len(stream.unsent) for stream in self._streams.values())
        ready = [stream.stream_id for stream in self._ready]
        assert len(ready) == len(set(ready))
        for stream in self._streams.values():
            assert stream.is_ready == (stream.stream_id in ready)
            assert not stream.is_ready or stream.unsent
            assert (stream.stream_id in self._done) == (stream.is_ending and not stream.unsent)
            may_send = bool(stream.unsent) and stream.window.outbound_flow_control_window > 0
            assert stream.is_ready or not may_send, "a stream that may send is not in the queue"
        assert set(ready) <= set(self._streams)

    def _make_ready(self, stream: _Outgoing) -> None:
        if not stream.is_ready and stream.unsent and stream.window.outbound_flow_control_window > 0:
            stream.is_ready = True
            self._ready.append(stream)

    def _end(self, stream: _Outgoing) -> None:
        self._done.append(stream.stream_id)
