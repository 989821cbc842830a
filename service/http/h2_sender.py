"""The way out of an HTTP/2 connection: everything of a turn of the loop in one write.

While the socket is congested nothing is written. Frames wait in the queue, answers to control
frames here; their owner reads nothing more while `is_backlogged`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from h2.errors import ErrorCodes

from service.http.send_queue import SendQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from service.http.h2_connection import ServerConnection
    from service.http.h2_stream import Headers
    from service.http.h2_uploads import Uploads
    from service.http.limits import HttpLimits


class Wire(Protocol):
    """The socket as a protocol sees it."""

    @property
    def is_congested(self) -> bool:
        """It holds more than it should: `wait_for_room` before the next write."""
        ...

    def write(self, data: bytes) -> None:
        """Never waits; on a closed socket nothing happens."""
        ...

    async def wait_for_room(self) -> None:
        """Until it is not congested. One that takes nothing for too long is closed."""
        ...

    def close(self) -> None:
        """After what was written; nothing that is read from now on is handed on."""
        ...

    def set_idle(self, is_idle: bool) -> None:
        """Whether it may be closed when nothing happens."""
        ...

    def spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Run something that ends by itself before the connection does."""
        ...


class Sender:
    """An `Owner` for the streams. Calls `on_end` with each stream whose last frame was written."""

    def __init__(
        self,
        h2: ServerConnection,
        wire: Wire,
        uploads: Uploads,
        limits: HttpLimits,
        on_end: Callable[[int], None],
    ) -> None:
        self._h2 = h2
        self._wire = wire
        self._uploads = uploads
        self._limits = limits
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._queue = SendQueue(h2)
        self._control = bytearray()
        self._cut: set[int] = set()
        self._is_scheduled = False
        self._is_blocked = False
        self._is_closed = False
        self._for_room: dict[int, asyncio.Event] = {}
        self._for_end: dict[int, asyncio.Event] = {}

    @property
    def is_backlogged(self) -> bool:
        """The client asks for more control frames than it takes."""
        if not self._is_blocked:
            return False
        self._control += self._h2.data_to_send()
        return len(self._control) > self._limits.max_control_bytes

    def open(self, stream_id: int) -> None:
        """Of a request that h2 has just received."""
        self._queue.open(stream_id, self._h2.streams[stream_id])

    def send_headers(self, stream_id: int, headers: Headers) -> None:
        self._h2.send_headers(stream_id, headers)
        self.schedule()

    def push(self, stream_id: int, data: bytes) -> bool:
        """False if the stream holds more than it should; see `wait_for_room`."""
        self._queue.push(stream_id, data, self._loop.time())
        self.schedule()
        return self._has_room(stream_id)

    def finish(self, stream_id: int, *, is_cut: bool = False) -> None:
        """With `is_cut` a reset ends it, which tells the client that the answer is not whole."""
        if is_cut:
            self._cut.add(stream_id)
        self._queue.finish(stream_id)
        self.schedule()

    def drop(self, stream_id: int) -> None:
        """A stream is no more; nobody waits for it any longer."""
        self._queue.drop(stream_id)
        self._cut.discard(stream_id)
        for waiting in (self._for_room, self._for_end):
            if event := waiting.pop(stream_id, None):
                event.set()

    def window_opened(self, stream_id: int | None) -> None:
        self._queue.window_opened(stream_id)
        self.schedule()

    def stalled(self, since_s: float) -> list[int]:
        return self._queue.stalled(since_s)

    async def wait_for_room(self, stream_id: int) -> None:
        while not self._has_room(stream_id):
            await self._for_room.setdefault(stream_id, asyncio.Event()).wait()

    async def wait_for_end(self, stream_id: int) -> None:
        if self._queue.is_open(stream_id):
            await self._for_end.setdefault(stream_id, asyncio.Event()).wait()

    def body_read(self, stream_id: int, num_bytes: int) -> None:
        if self._uploads.read(stream_id, num_bytes):
            self.schedule()

    def schedule(self) -> None:
        """Write what there is when all who are ready to run have run."""
        if not self._is_scheduled and self._may_write():
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def close(self, last_words: bytes = b"") -> None:
        """Write what h2 has to say, and `last_words`, and nothing after that."""
        if not self._is_closed:
            self._is_closed = True
            self._wire.write(bytes(self._control) + self._h2.data_to_send() + last_words)
            self._wire.close()

    def _may_write(self) -> bool:
        return not (self._is_blocked or self._is_closed)

    def _has_room(self, stream_id: int) -> bool:
        limits = self._limits
        is_full = self._queue.num_bytes > limits.max_unsent_total_bytes
        max_bytes = limits.min_unsent_bytes if is_full else limits.max_unsent_bytes
        return self._queue.num_unsent(stream_id) <= max_bytes

    def _flush(self) -> None:
        self._is_scheduled = False
        if not self._may_write():
            return
        head = bytes(self._control) + self._h2.data_to_send()
        self._control.clear()
        turn = self._queue.take(
            self._limits.max_turn_bytes, self._h2.max_outbound_frame_size, self._loop.time()
        )
        for stream_id in turn.done:
            if stream_id in self._cut:
                self._h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            else:
                self._h2.end_stream(stream_id)
        data = b"".join((head, *turn.pieces, self._h2.data_to_send()))
        if data:
            self._wire.write(data)
        for stream_id in turn.done:
            self.drop(stream_id)
            self._on_end(stream_id)
        for stream_id in [each for each in self._for_room if self._has_room(each)]:
            self._for_room.pop(stream_id).set()
        if self._is_closed:
            return
        if self._wire.is_congested:
            self._is_blocked = True
            self._wire.spawn(self._resume)
        elif self._queue.can_send:
            self.schedule()

    async def _resume(self) -> None:
        await self._wire.wait_for_room()
        self._is_blocked = False
        self.schedule()
