"""Records for the tests of this folder: one chat request of 414 ms, in round numbers."""

from typing import Any

import msgspec

from observability.record import GenerationRecord, Interval, RequestRecord
from observability.trace_context import TraceContext
from observability.wall_clock import WallClock

MS = 1_000_000
CLOCK = WallClock(wall_ns=1_750_000_000_000_000_000, monotonic_ns=500 * MS)
START_NS = 1_000 * MS

TRACE = TraceContext(
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="53995c3f42cd8ad8",
    parent_span_id="00f067aa0ba902b7",
    sampled=True,
    tracestate="vendor=1,other=2",
)


def at(ms: float) -> int:
    """Monotonic nanoseconds so many milliseconds after the start of the request."""
    return START_NS + int(ms * MS)


def wall(ms: float) -> int:
    """The same moment in Unix nanoseconds."""
    return CLOCK.at(at(ms))


def between(start_ms: float, end_ms: float) -> Interval:
    return Interval(at(start_ms), at(end_ms))


GENERATION = GenerationRecord(
    model="kvorum-mini",
    response_id="chatcmpl-1",
    stream=True,
    max_tokens=128,
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    seed=7,
    stop_sequences=("\n\n", "END"),
    prompt_tokens=1184,
    cached_tokens=640,
    output_tokens=96,
    finish_reasons=("stop",),
    start_ns=at(1),
    end_ns=at(412),
    tokenize=between(1, 4),
    queues=(between(4, 38), between(200, 240)),
    prefill=between(38, 131),
    prefill_chunks=2,
    decode=between(131, 411),
    decode_steps=95,
    first_token_ns=at(131),
)

REQUEST = RequestRecord(
    trace=TRACE,
    request_id="req_1",
    method="POST",
    route="/v1/chat/completions",
    path="/v1/chat/completions",
    status_code=200,
    start_ns=at(0),
    end_ns=at(414),
    scheme="https",
    protocol_version="2",
    server_address="localhost",
    server_port=8000,
    generation=GENERATION,
)


def request(**changes: Any) -> RequestRecord:
    return msgspec.structs.replace(REQUEST, **changes)


def generation(**changes: Any) -> GenerationRecord:
    return msgspec.structs.replace(GENERATION, **changes)


class CountingBytes:
    """Random bytes that are not: 1, 2, 3, …, so that ids are known and distinct."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, num_bytes: int) -> bytes:
        self._next += 1
        return self._next.to_bytes(num_bytes, "big")
