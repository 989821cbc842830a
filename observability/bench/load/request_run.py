"""`RequestRun`: sends one request and reads its answer, until its end or its deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import msgspec

from observability.bench.load.connection import RequestFailed
from observability.bench.load.endpoint import error_text
from observability.bench.load.event_stream import EventStream
from observability.bench.load.reading import Reading, shown

if TYPE_CHECKING:
    from observability.bench.load.connection import Answer
    from observability.bench.load.endpoint import Endpoint
    from observability.bench.load.pool import Pool
    from observability.bench.load.tally import Tally

_MAX_STALE_S = 1.0
"""A kept connection that breaks later than this after sending was no stale one."""
_MAX_DRAIN_S = 1.0
"""For the end of the body after the last event; then the connection is given up."""
_MAX_HELD_BYTES = 2**24
"""Of an event or an answer that is not streamed."""


class RequestRun:
    """Of one request. `reading` holds what came, also if it failed."""

    def __init__(self, endpoint: Endpoint, pool: Pool, tally: Tally, timeout_s: float) -> None:
        self.reading = Reading(endpoint, tally)
        self.sent_s = 0.0
        self.end_s = 0.0
        self.error = ""
        self.detail = ""
        self._pool = pool
        self._timeout_s = timeout_s

    async def run(self, body: bytes) -> None:
        """All failures of the request are kept, none is raised."""
        self.sent_s = time.monotonic()
        try:
            with anyio.fail_after(self._timeout_s):
                await self._ask(body)
        except RequestFailed as failure:
            self._fail(failure.kind, failure.detail)
        except TimeoutError:
            self._fail("timeout", f"no end after {self._timeout_s:g} s")
        else:
            self.end_s = self.reading.last_s or time.monotonic()

    def _fail(self, kind: str, detail: str) -> None:
        self.end_s = time.monotonic()
        self.error, self.detail = kind, shown(detail.encode())

    async def _ask(self, body: bytes) -> None:
        try:
            await self._ask_once(body, is_fresh=False)
        except RequestFailed as failure:
            if not failure.is_unseen or time.monotonic() - self.sent_s > _MAX_STALE_S:
                raise
            await self._ask_once(body, is_fresh=True)

    async def _ask_once(self, body: bytes, *, is_fresh: bool) -> None:
        async with self._pool.ask(body, is_fresh=is_fresh) as answer:
            head = await answer.head()
            if head.status != 200:
                raise RequestFailed(f"http {head.status}", _said(await self._all(answer)))
            if "json" in head.content_type:
                self.reading.take_whole(await self._all(answer))
            else:
                await self._read_events(answer)

    async def _read_events(self, answer: Answer) -> None:
        stream, reading = EventStream(), self.reading
        while not reading.is_done:
            at_s, data = await answer.receive()
            if data:
                reading.last_s = at_s
            for payload in stream.feed(data) if data else stream.end():
                reading.take(at_s, payload)
            if stream.error is not None:
                raise RequestFailed("stream", _said(stream.error))
            if not data:
                break
            if stream.num_held_bytes > _MAX_HELD_BYTES:
                raise RequestFailed("protocol", "an event that does not end")
        if not (reading.is_done or reading.finish_reason):
            raise RequestFailed("cut", "the stream ended without [DONE] and without a reason")
        await _drain(answer)

    async def _all(self, answer: Answer) -> bytes:
        pieces: list[bytes] = []
        num_bytes = 0
        while True:
            at_s, data = await answer.receive()
            if not data:
                return b"".join(pieces)
            self.reading.last_s = at_s
            pieces.append(data)
            num_bytes += len(data)
            if num_bytes > _MAX_HELD_BYTES:
                raise RequestFailed("protocol", "an answer that does not end")


async def _drain(answer: Answer) -> None:
    """To its end, so that the connection can be used again. All that counts has come."""
    with anyio.move_on_after(_MAX_DRAIN_S):
        try:
            while not answer.is_whole:
                await answer.receive()
        except RequestFailed:
            pass


def _said(body: bytes) -> str:
    try:
        return error_text(msgspec.json.decode(body))
    except msgspec.DecodeError:
        return shown(body)
