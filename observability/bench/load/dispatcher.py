"""`Dispatcher`: begins sessions when they are due and have a place. Nothing else holds them back.

An open loop without a limit sends at its times whatever the server does: a slow answer delays no
request but its own session's next.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import anyio

from observability.bench.load.session_run import SessionRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.load.endpoint import Endpoint
    from observability.bench.load.pool import Pool
    from observability.bench.load.tally import Tally
    from observability.bench.plan import Target
    from observability.bench.turn import Session


class Dispatcher:
    """Of one process's sessions, in the order in which they are due; those without a time first."""

    def __init__(
        self, target: Target, endpoint: Endpoint, pool: Pool, sessions: Sequence[Session]
    ) -> None:
        self._target = target
        self._endpoint = endpoint
        self._pool = pool
        asking = [session for session in sessions if session.turns]
        self._waiting = deque(
            sorted(asking, key=lambda session: (session.due_s or 0.0, session.index))
        )

    async def run(self, tally: Tally, max_concurrency: int | None) -> None:
        """Until all sessions have ended. Raises `CannotMeasure`."""
        async with anyio.create_task_group() as tasks:
            if max_concurrency is None:
                while self._waiting:
                    run, free_s = await self._next(tally, tally.begin_s)
                    tasks.start_soon(run.run, free_s)
            else:
                for _ in range(min(max_concurrency, len(self._waiting))):
                    tasks.start_soon(self._use_place, tally)

    async def _use_place(self, tally: Tally) -> None:
        free_s = tally.begin_s
        while self._waiting:
            run, free_s = await self._next(tally, free_s)
            await run.run(free_s)
            free_s = time.monotonic()

    async def _next(self, tally: Tally, free_s: float) -> tuple[SessionRun, float]:
        """The next session when it may begin, and when that was: due, with a place."""
        session = self._waiting.popleft()
        run = SessionRun(session, self._endpoint, self._target, self._pool, tally)
        may_begin_s = max(free_s, tally.begin_s + (session.due_s or 0.0))
        if (wait_s := may_begin_s - time.monotonic()) > 0:
            await anyio.sleep(wait_s)
        if session.due_s is None and may_begin_s == tally.begin_s:
            return run, time.monotonic()  # the crowd at the begin had no time set to be late for
        return run, may_begin_s
