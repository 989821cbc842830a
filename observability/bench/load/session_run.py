"""`SessionRun`: one visitor, who asks a turn, reads the answer, thinks, and asks the next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from observability.bench.load.endpoint import Earlier
from observability.bench.load.request_run import RequestRun
from observability.bench.measured import Measured

if TYPE_CHECKING:
    from observability.bench.load.endpoint import Endpoint
    from observability.bench.load.pool import Pool
    from observability.bench.load.tally import Tally
    from observability.bench.plan import Target
    from observability.bench.turn import Session, Turn


class SessionRun:
    """The first request is encoded at once, so that nothing but sending is left when it is due."""

    def __init__(
        self, session: Session, endpoint: Endpoint, target: Target, pool: Pool, tally: Tally
    ) -> None:
        """Raises `CannotMeasure` if the endpoint cannot ask that."""
        self._session = session
        self._endpoint = endpoint
        self._target = target
        self._pool = pool
        self._tally = tally
        self._history: list[Earlier] = []
        self._body = endpoint.body(session.turns[0], [], target)

    async def run(self, free_s: float) -> None:
        """Ask all turns; one that fails is the last. It is due now or was before.

        `free_s` is when it could be sent: due, with a place. Raises `CannotMeasure`.
        """
        due_s = self._session.due_s
        due_s = None if due_s is None else self._tally.begin_s + due_s
        for number, turn in enumerate(self._session.turns):
            if number:
                self._body = self._endpoint.body(turn, self._history, self._target)
                await anyio.sleep(max(0.0, free_s - time.monotonic()))
                due_s = None if due_s is None else free_s
            request = RequestRun(self._endpoint, self._pool, self._tally, self._target.timeout_s)
            self._tally.num_running += 1
            try:
                await request.run(self._body)
            finally:
                self._tally.num_running -= 1
            self._tally.send_lags_s.append(max(0.0, request.sent_s - free_s))
            self._tally.add(self._measured(number, turn, request, due_s))
            if request.error:
                return
            self._history.append(Earlier(turn, "".join(request.reading.texts)))
            free_s = time.monotonic() + self._session.think_s

    def _measured(
        self, number: int, turn: Turn, request: RequestRun, due_s: float | None
    ) -> Measured:
        begin_s, reading = self._tally.begin_s, request.reading
        first_s = reading.first_answer_s
        sent_s = round(request.sent_s - begin_s, 6)
        return Measured(
            session=self._session.index,
            turn=number,
            due_s=sent_s if due_s is None else min(sent_s, round(due_s - begin_s, 6)),
            sent_s=sent_s,
            end_s=round(request.end_s - begin_s, 6),
            arrivals_s=[round(at_s - begin_s, 6) for at_s in reading.arrivals_s],
            first_answer_s=None if first_s is None else round(first_s - begin_s, 6),
            num_prompt_tokens=reading.usage.num_prompt_tokens,
            num_output_tokens=reading.usage.num_output_tokens,
            num_cached_tokens=reading.usage.num_cached_tokens,
            num_asked_tokens=turn.num_output_tokens,
            finish_reason=reading.finish_reason,
            error=request.error,
            detail=request.detail,
            num_characters=reading.num_characters,
        )
