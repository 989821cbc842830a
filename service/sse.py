"""Server-sent events: their bytes, and the answer that streams them.

`EventStream` owns the reply: it opens the generation as a context manager and leaves it when the
client does, so nothing waits for a garbage collector. It knows no API's shapes: an `EventEncoder`
turns what happens to an answer into events.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service.disconnect import unless_disconnected
from service.errors import ApiError, InternalFault
from service.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.types import Receive, Scope, Send

    from service.deltas import AnswerEvent, AnswerSource

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def event(data: bytes) -> bytes:
    """One unnamed event. JSON of msgspec has no line breaks, so one `data:` line holds it."""
    return b"data: " + data + b"\n\n"


class StreamTiming(msgspec.Struct, frozen=True):
    """When a stream stops waiting. Pings and slow readers are looked at every `tick_s`."""

    max_start_wait_s: float = 10.0
    ping_after_s: float = 15.0
    max_send_s: float = 30.0
    tick_s: float = 5.0


class EventEncoder(Protocol):
    """An API's view of a stream. Stateful: one for each answer."""

    def encode(self, events: Sequence[AnswerEvent]) -> bytes:
        """The events of one wake-up, as one piece of body; may be empty. `End` comes last and
        once, and its events include whatever closes the stream."""
        ...

    def fault(self, error: ApiError) -> bytes:
        """The events that end a stream which has begun and cannot go on."""
        ...


class EventStream(Response):
    """Streams a generation as server-sent events.

    The status line waits for the first of them, `max_start_wait_s` at most: a fault before it is
    raised, to be answered with its own status; a fault after it is an event.
    """

    def __init__(
        self,
        open_generation: Callable[[], AbstractAsyncContextManager[AnswerSource]],
        encoder: EventEncoder,
        timing: StreamTiming,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = list(HEADERS)
        self._open_generation = open_generation
        self._encoder = encoder
        self._timing = timing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end or until the client has left.

        Raises:
            ApiError: the generation failed before the status line was sent.
        """
        exchange = Exchange.of(scope)
        outlet = _Outlet(send, self._timing)
        try:
            async with self._open_generation() as generation:
                last = await unless_disconnected(
                    receive,
                    partial(self._stream, generation, outlet),
                    tick=outlet.tick,
                    tick_s=self._timing.tick_s,
                )
                # Unwatched: the server says "disconnect" in the middle of the last send.
                await outlet.close(last)
        except ClientDisconnect:
            exchange.client_left = True
        except ApiError as error:
            if not outlet.has_started:
                raise
            exchange.error_type = error.code
            await outlet.close(self._encoder.fault(error))
        except Exception:  # the error boundary of a route whose status line is out
            if outlet.has_started:
                exchange.error_type = InternalFault.default_code
                await outlet.close(self._encoder.fault(InternalFault()))
            raise

    async def _stream(self, generation: AnswerSource, outlet: _Outlet) -> bytes:
        """Send everything but the last piece of body, and return that."""
        events: Sequence[AnswerEvent] = []
        with anyio.move_on_after(self._timing.max_start_wait_s):
            events = await generation.receive()
        await outlet.start(self.raw_headers)
        while not generation.is_over:
            body = self._encoder.encode(events)
            if body:
                await outlet.write(body)
            events = await generation.receive()
        return self._encoder.encode(events)


class _Outlet:
    """The way to the socket: one writer at a time, pings when it is idle, an end when it is stuck.

    Time is counted in ticks, so that a token reads no clock and takes no lock.
    """

    def __init__(self, send: Send, timing: StreamTiming) -> None:
        self.has_started = False
        self._is_closed = False
        self._is_sending = False
        self._num_sent = 0
        self._num_seen = 0
        self._num_idle_ticks = 0
        self._ping_sent: anyio.Event | None = None
        self._send = send
        self._timing = timing

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the status line."""
        self.has_started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, body: bytes) -> None:
        """Send a piece of body."""
        if self._ping_sent is not None:
            await self._ping_sent.wait()
        await self._write(body)

    async def close(self, body: bytes) -> None:
        """Send the last piece of body, once; a reader that does not take it has had its time."""
        if not self._is_closed:
            self._is_closed = True
            with anyio.move_on_after(self._timing.max_send_s):
                await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def tick(self) -> None:
        """Keep an idle connection alive, give up one whose reader does not read.

        Raises:
            ClientDisconnect: the socket has taken nothing for `max_send_s`.
        """
        is_idle = self._num_sent == self._num_seen
        self._num_seen = self._num_sent
        self._num_idle_ticks = self._num_idle_ticks + 1 if is_idle else 0
        idle_s = self._num_idle_ticks * self._timing.tick_s
        if self._is_sending:
            if idle_s >= self._timing.max_send_s:
                raise ClientDisconnect
        elif self.has_started and idle_s >= self._timing.ping_after_s:
            await self._ping()

    async def _ping(self) -> None:
        self._num_idle_ticks = 0
        self._ping_sent = anyio.Event()
        with anyio.move_on_after(self._timing.max_send_s) as scope:
            await self._write(PING)
        self._ping_sent.set()
        self._ping_sent = None
        self._num_seen = self._num_sent  # a ping is no sign of life from the generation
        if scope.cancelled_caught:
            raise ClientDisconnect

    async def _write(self, body: bytes) -> None:
        self._num_sent += 1
        self._is_sending = True
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        self._is_sending = False
