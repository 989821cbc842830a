"""Streams over time: pings, slow readers, mistakes of ours."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from trio.testing import MockClock

from observability.trace_context import TraceContext
from service.deltas import AnswerEvent, ChoiceDelta, ContentDelta, End, Started
from service.errors import ApiError, EngineFault
from service.exchange import SCOPE_KEY, Exchange
from service.sse import PING, EventStream, StreamTiming
from tests.requirements import requirement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.types import Message

    from service.generation import Generation

END = End(1, 0, 1)
MINUTE = 60.0


@pytest.fixture(
    params=[pytest.param(("trio", {"clock": MockClock(autojump_threshold=0)}), id="trio")]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Time jumps ahead whenever everybody waits."""
    name, options = request.param
    return name, {**options, "clock": MockClock(autojump_threshold=0)}


def text(piece: str) -> ChoiceDelta:
    return ChoiceDelta(0, ContentDelta(piece))


class Script:
    """A generation of waits (seconds), deltas and faults; says whether it was left."""

    def __init__(self, *steps: float | list[AnswerEvent] | Exception) -> None:
        self.is_left = False
        self.is_over = False
        self._until_s: float | None = None
        self._steps = list(steps)

    async def receive(self) -> list[AnswerEvent]:
        while isinstance(self._steps[0], float):
            self._until_s = self._until_s or anyio.current_time() + self._steps[0]
            await anyio.sleep_until(self._until_s)  # a reader that gives up loses nothing
            self._until_s = None
            self._steps.pop(0)
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, list)
        self.is_over = isinstance(step[-1], End)
        return step

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Generation]:
        try:
            yield cast("Generation", self)
        finally:
            self.is_left = True


class PlainText:
    """Letters for deltas, so that a body can be read at a glance."""

    def encode(self, events: Sequence[AnswerEvent]) -> bytes:
        letters = {Started: b"S", End: b"E"}
        return b"".join(
            event.delta.text.encode()
            if isinstance(event, ChoiceDelta) and isinstance(event.delta, ContentDelta)
            else letters[type(event)]
            for event in events
        )

    def fault(self, error: ApiError) -> bytes:
        return b"!" + (error.code or "").encode()


class Reader:
    """The far end: reads all, or takes `seconds_per_read` for each piece."""

    def __init__(self, seconds_per_read: float = 0) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.is_complete = False
        self.exchange = Exchange(
            request_id="r",
            trace=TraceContext.from_headers(None, None, lambda n: b"\x07" * n),
            start_ns=0,
        )
        self._seconds_per_read = seconds_per_read

    async def read(self, script: Script) -> Reader:
        self._start_s = anyio.current_time()
        stream = EventStream(script.open, PlainText(), StreamTiming())
        await stream({"type": "http", SCOPE_KEY: self.exchange}, self._receive, self._send)
        return self

    @property
    def body(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    async def _receive(self) -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def _send(self, message: Message) -> None:
        await anyio.sleep(self._seconds_per_read)
        if message["type"] == "http.response.body":
            self.pieces.append((anyio.current_time() - self._start_s, message["body"]))
            self.is_complete = not message["more_body"]


async def test_deltas_that_come_together_go_out_together() -> None:
    reader = await Reader().read(Script([Started(), text("a")], [text("b"), text("c")], [END]))
    assert [piece for _, piece in reader.pieces] == [b"Sa", b"bc", b"E"]
    assert reader.is_complete


async def test_a_stream_that_waits_is_kept_alive() -> None:
    reader = await Reader().read(Script([Started()], MINUTE, [text("a"), END]))
    assert reader.body.count(PING) in (3, 4)
    times = [time_s for time_s, piece in reader.pieces if piece == PING]
    assert all(15 <= later - sooner <= 20 for sooner, later in itertools.pairwise(times))
    assert reader.body.replace(PING, b"") == b"SaE"


async def test_no_ping_interrupts_a_stream_that_speaks() -> None:
    steps: list[Any] = [[Started()]]
    for _ in range(20):
        steps += [10.0, [text("a")]]
    reader = await Reader().read(Script(*steps, [END]))
    assert PING not in reader.body


async def test_a_late_start_gets_its_status_line_after_ten_seconds_and_then_pings() -> None:
    reader = await Reader().read(Script(MINUTE, [Started()], [END]))
    assert reader.body.startswith(PING)
    assert reader.body.replace(PING, b"") == b"SE"


async def test_a_reader_that_does_not_read_is_left() -> None:
    script = Script([Started()], [text("a")], [END])
    reader = await Reader(seconds_per_read=MINUTE).read(script)
    assert script.is_left
    assert reader.exchange.client_left
    assert not reader.is_complete


async def test_a_slow_reader_that_reads_gets_all() -> None:
    reader = await Reader(seconds_per_read=20).read(Script([Started()], [text("a")], [END]))
    assert reader.body.replace(PING, b"") == b"SaE"
    assert reader.is_complete


@requirement("errors.before_stream")
async def test_a_fault_before_the_status_line_is_raised() -> None:
    script = Script(5.0, EngineFault("It failed."))
    reader = Reader()
    with pytest.raises(EngineFault):
        await reader.read(script)
    assert reader.pieces == []
    assert script.is_left


async def test_a_fault_after_the_status_line_is_an_event() -> None:
    reader = await Reader().read(Script([Started()], 5.0, EngineFault("It failed.")))
    assert reader.body == b"S!engine_error"
    assert reader.is_complete
    assert reader.exchange.error_type == "engine_error"


async def test_a_mistake_of_ours_ends_the_stream_and_is_not_hushed_up() -> None:
    reader = Reader()
    with pytest.raises(ZeroDivisionError):
        await reader.read(Script([Started()], ZeroDivisionError("secret")))
    assert reader.body == b"S!internal_error"
    assert reader.is_complete
