"""What routes that generate text have in common: bounds, patience, bodies, and whole answers."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
import msgspec

from service.body import BodyLimits
from service.disconnect import unless_disconnected
from service.lenient import parse_leniently
from service.request_limits import RequestLimits
from service.sse import StreamTiming

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.datastructures import Headers
    from starlette.types import Receive

    from service.deltas import AnswerEvent, AnswerSource
    from service.exchange import Exchange

Parsed = TypeVar("Parsed")

# The first is what JavaScript's sends and Python's sent, the second what Python's sends today.
_TIMEOUT_HEADERS = ("x-stainless-timeout", "x-stainless-read-timeout")


class AnswerLimits(msgspec.Struct, frozen=True):
    """Bounds of a request; the client's own `x-stainless-timeout` can only shorten its time."""

    body: BodyLimits = BodyLimits()
    request: RequestLimits = RequestLimits()
    stream: StreamTiming = StreamTiming()
    max_request_s: float = 600.0
    is_lenient: bool = False
    heeds_priority: bool = False
    """Whether the scheduling policy looks at `priority`."""


class Patience(msgspec.Struct, frozen=True):
    """Until when an answer must have begun, and until when it must be complete."""

    start_deadline_s: float
    deadline_s: float

    @classmethod
    def of(cls, headers: Headers, max_request_s: float) -> Patience:
        """Of a request that arrives now. A client tells its own patience, as OpenAI's SDKs do."""
        now_s = anyio.current_time()
        deadline_s = now_s + max_request_s
        client_s = min(_seconds(headers.get(name)) for name in _TIMEOUT_HEADERS)
        return cls(min(deadline_s, now_s + client_s), deadline_s)

    def of_answer(self, *, is_streamed: bool) -> Patience:
        """A client reads a stream bit by bit: its patience is for the beginning. What is told whole
        has to be complete within it."""
        if is_streamed:
            return self
        return Patience(self.start_deadline_s, self.start_deadline_s)


def parse_body(
    body: bytes, parse: Callable[[bytes], Parsed], exchange: Exchange, *, is_lenient: bool
) -> Parsed:
    """What `parse` makes of a body. Leniently, unknown fields are noted in the exchange.

    Raises whatever `parse` raises.
    """
    if not is_lenient:
        return parse(body)
    parsed, exchange.ignored_fields = parse_leniently(body, parse)
    return parsed


class AnswerBuilder(Protocol):
    """An API's view of a whole answer. Stateful: one for each."""

    def add(self, events: Sequence[AnswerEvent]) -> None:
        """Take the next events, of which the last is the `End`."""
        ...


async def build_whole(
    run: Callable[[], AbstractAsyncContextManager[AnswerSource]],
    receive: Receive,
    builder: AnswerBuilder,
) -> None:
    """Give the builder all that happens to an answer.

    Nobody watches the client of an answer that is not streamed, unless we do. Its SDK would send
    the request twice more, so work for a client that has left is work done three times.

    Raises:
        ApiError: the engine failed at it.
        ClientDisconnect: the client has left; the engine has been told.
    """
    async with run() as source:
        await unless_disconnected(receive, partial(_collect, source, builder))


async def _collect(source: AnswerSource, builder: AnswerBuilder) -> None:
    while not source.is_over:
        builder.add(await source.receive())


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or "inf")
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf
