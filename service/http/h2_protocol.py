"""The streams of one HTTP/2 connection: from frames to applications and back.

Nothing here waits while it handles what was read, so no stream holds up another. Why this is not
Hypercorn's class: docs/decisions/0006-http2-layer.md.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypercorn.events import RawData

from service.http.frame_budget import FrameBudget
from service.http.h2_connection import ServerConnection
from service.http.h2_sender import Sender
from service.http.h2_uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.events import Event

    from service.http.h2_sender import Wire
    from service.http.h2_stream import AnyStream, Headers, Owner
    from service.http.limits import HttpLimits

    OpenStream = Callable[[Owner, int, Headers], AnyStream]

_TICKS = 6  # a stall is noticed a sixth too late at most

_logger = logging.getLogger(__name__)


class _Late:
    """What still comes for a stream that is answered."""

    __slots__ = ("heard_s", "num_bytes")

    def __init__(self, now_s: float) -> None:
        self.heard_s = now_s
        self.num_bytes = 0


class H2Protocol:
    """`open_stream` makes a stream from the headers of a request."""

    def __init__(
        self,
        wire: Wire,
        limits: HttpLimits,
        open_stream: OpenStream,
    ) -> None:
        self._wire = wire
        self._limits = limits
        self._open_stream = open_stream
        self._loop = asyncio.get_running_loop()
        self._h2 = ServerConnection(limits)
        self._uploads = Uploads(self._h2)
        self._sender = Sender(self._h2, wire, self._uploads, limits, self._on_answered)
        self._open: dict[int, AnyStream] = {}
        """Streams that count against the limit: the request or the answer is incomplete."""
        self._late: dict[int, _Late] = {}
        """Those of them that are answered."""
        self._num_requests = 0
        self._is_retiring = False
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        now_s = self._loop.time()
        self._control = FrameBudget(limits.num_control_frames, limits.control_frames_per_s, now_s)
        self._resets = FrameBudget(limits.num_resets, limits.resets_per_s, now_s)

    async def initiate(self, headers: Headers | None = None, settings: bytes | None = None) -> None:
        """Begin. With `settings` the HTTP/1.1 request of these `headers` asked for an upgrade."""
        try:
            self._h2.initiate(settings)
        except (ProtocolError, ValueError):
            self._sender.close()
            return
        if headers is not None:
            self._on_request(h2.events.RequestReceived(stream_id=1, headers=headers))
            self._on_end(h2.events.StreamEnded(stream_id=1))
        else:
            self._wire.set_idle(True)
        self._sender.schedule()

    async def handle(self, event: Event) -> None:
        """What was read, or that there is nothing more to read."""
        if not isinstance(event, RawData):
            self._leave_all()
            return
        try:
            events = self._h2.receive_data(event.data)
        except ProtocolError:  # h2 has its GOAWAY ready, which says why
            self._end()
            return
        for each in events:
            if not self._is_over:
                _HANDLERS.get(type(each), H2Protocol._ignore)(self, each)
        self._sender.schedule()
        if self._sender.is_backlogged:
            await self._wire.wait_for_room()

    def retire(self) -> None:
        """Take no more streams; end when those that run have ended."""
        self._is_retiring = True
        if not self._open:
            self._sender.close(self._h2.goaway())

    # What the client sends

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        if not self._h2.is_open(stream_id):  # reset in the same read: as if it had never been
            return
        if self._is_retiring or len(self._open) >= self._limits.max_streams:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            self._spend(self._control)
            return
        stream = self._open_stream(self._sender, stream_id, event.headers)
        self._open[stream_id] = stream
        self._uploads.open(stream_id)
        self._sender.open(stream_id)
        self._wire.spawn(self._run, stream)
        self._wire.set_idle(False)
        self._watch()
        self._num_requests += 1
        if self._num_requests == 2 * self._limits.max_requests:
            self._is_retiring = True
            self._wire.write(self._h2.goaway())

    def _on_data(self, event: h2.events.DataReceived) -> None:
        stream_id = event.stream_id
        num_unread = event.flow_controlled_length
        self._uploads.arrived(num_unread)
        if late := self._late.get(stream_id):
            late.heard_s = self._loop.time()
            late.num_bytes += num_unread
            if late.num_bytes > self._limits.max_late_bytes:
                self._reset(stream_id, ErrorCodes.NO_ERROR)
                return
        elif stream := self._open.get(stream_id):
            stream.inbox.feed(event.data)
            num_unread -= len(event.data)
        if not event.data and event.stream_ended is None:
            self._spend(self._control)
        self._uploads.read(stream_id, num_unread)

    def _on_end(self, event: h2.events.StreamEnded) -> None:
        self._uploads.close(event.stream_id)
        if stream := self._open.get(event.stream_id):
            stream.inbox.end()
            if event.stream_id in self._late:
                self._forget(event.stream_id)

    def _on_reset(self, event: h2.events.StreamReset) -> None:
        stream = self._open.get(event.stream_id)
        if stream is None or not stream.has_started:
            self._spend(self._resets)
        self._drop(event.stream_id)

    def _on_window(self, event: h2.events.WindowUpdated) -> None:
        if event.stream_id:  # an open window of the connection changes nobody's place
            self._sender.window_opened(event.stream_id)

    def _on_settings(self, event: h2.events.RemoteSettingsChanged) -> None:
        self._h2.bound_header_table()
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._sender.window_opened(None)
        self._spend(self._control)

    def _on_goaway(self, _: h2.events.ConnectionTerminated) -> None:
        self.retire()

    def _on_control(self, _: h2.events.Event) -> None:
        self._spend(self._control)

    def _ignore(self, _: h2.events.Event) -> None:
        """Trailers of a request: the end of the stream follows."""

    def _spend(self, budget: FrameBudget) -> None:
        """End a connection that sends too many frames which carry nothing."""
        if not self._is_over and not budget.spend(self._loop.time()):
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end()

    # The life of a stream

    async def _run(self, stream: AnyStream) -> None:
        try:
            await stream.run()
        except Exception:  # the boundary of an application: its failure is that of one stream
            _logger.exception("the application failed")
        if stream.is_over:
            return
        stream.is_over = True
        is_cut = stream.has_started
        if not is_cut:
            head = [(b":status", b"500"), (b"content-length", b"0")]
            self._sender.send_headers(stream.stream_id, head)
        self._sender.finish(stream.stream_id, is_cut=is_cut)

    def _on_answered(self, stream_id: int) -> None:
        """Its last frame was written. What it still receives is thrown away."""
        inbox = self._open[stream_id].inbox
        if inbox.is_ended or not self._h2.is_open(stream_id):
            self._forget(stream_id)
        else:
            self._late[stream_id] = _Late(self._loop.time())
            self._sender.body_read(stream_id, len(inbox.take()))
        inbox.leave()

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        if self._h2.is_open(stream_id) and not self._is_over:
            self._h2.reset_stream(stream_id, code)
        self._drop(stream_id)
        self._sender.schedule()

    def _drop(self, stream_id: int) -> None:
        """It is no more, for whatever reason: the application hears that its client has left."""
        stream = self._open.get(stream_id)
        if stream is None:
            return
        stream.is_over = True
        stream.inbox.leave()
        self._sender.drop(stream_id)
        self._forget(stream_id)

    def _forget(self, stream_id: int) -> None:
        del self._open[stream_id]
        self._late.pop(stream_id, None)
        self._uploads.close(stream_id)
        if self._open:
            return
        self._wire.set_idle(True)
        if self._is_retiring or self._num_requests >= self._limits.max_requests:
            self.retire()

    # Time, and the end

    def _watch(self) -> None:
        if self._timer is None and self._open and not self._is_over:
            self._timer = self._loop.call_later(self._limits.max_stall_s / _TICKS, self._tick)

    def _tick(self) -> None:
        """Reset streams whose client neither takes the answer nor ends a body nobody wants."""
        self._timer = None
        since_s = self._loop.time() - self._limits.max_stall_s
        for stream_id in self._sender.stalled(since_s):
            self._reset(stream_id, ErrorCodes.CANCEL)
        for stream_id, late in list(self._late.items()):
            if late.heard_s <= since_s:
                self._reset(stream_id, ErrorCodes.NO_ERROR)
        self._watch()

    def _end(self) -> None:
        """Say what h2 has to say, then nothing."""
        self._is_over = True
        self._sender.close()
        self._leave_all()

    def _leave_all(self) -> None:
        self._is_over = self._is_retiring = True
        if self._timer is not None:
            self._timer.cancel()
        for stream_id in list(self._open):
            self._drop(stream_id)


_HANDLERS: dict[type[h2.events.Event], Callable[[H2Protocol, Any], None]] = {
    h2.events.RequestReceived: H2Protocol._on_request,
    h2.events.DataReceived: H2Protocol._on_data,
    h2.events.StreamEnded: H2Protocol._on_end,
    h2.events.StreamReset: H2Protocol._on_reset,
    h2.events.WindowUpdated: H2Protocol._on_window,
    h2.events.RemoteSettingsChanged: H2Protocol._on_settings,
    h2.events.ConnectionTerminated: H2Protocol._on_goaway,
    h2.events.PingReceived: H2Protocol._on_control,
    h2.events.PingAckReceived: H2Protocol._on_control,
    h2.events.PriorityUpdated: H2Protocol._on_control,
    h2.events.SettingsAcknowledged: H2Protocol._on_control,
    h2.events.UnknownFrameReceived: H2Protocol._on_control,
}
