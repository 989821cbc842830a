"""`/health`, `/health/live`, `/health/ready`: what probes and people ask.

Answered from the lifecycle and from the engine's last pushed numbers: nothing here waits, so a
stalled engine cannot stall a probe. Open without a key, hence without secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from engine.errors import EngineError, EngineLoading, EngineUnavailable
from engine.protocol import Stats
from service.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from service.lifecycle import Lifecycle

_RETRY_AFTER_S = {
    State.LOADING: EngineLoading.retry_after_s,
    State.READY: EngineUnavailable.retry_after_s,  # the engine has died or does not speak
    State.DRAINING: EngineUnavailable.retry_after_s,
    State.DOWN: EngineUnavailable.retry_after_s,
}


class EngineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's numbers, as it last sent them.

    `step_age_s`: for how long the running step has been running; `queue_age_s`: for how long the
    head of the queue has been waiting; 0 where there is none.
    """

    running: int
    waiting: int
    blocks_used: int
    blocks_total: int
    steps: int
    step_age_s: float
    queue_age_s: float
    restarts: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. `load_progress` runs from 0 to 1."""

    status: str
    state: State
    reason: str | None
    model: str
    uptime_s: float
    load_progress: float
    engine: EngineHealth


class HealthApi:
    """Answers HEAD as well as GET."""

    def __init__(self, lifecycle: Lifecycle, model: str, clock_s: Callable[[], float]) -> None:
        self._lifecycle = lifecycle
        self._model = model
        self._clock_s = clock_s
        self._start_s = clock_s()

    async def live(self, request: Request) -> Response:
        """200 for as long as the process turns: that it answers is the answer."""
        return _json({"status": "ok"}, 200)

    async def ready(self, request: Request) -> Response:
        """200 if requests are taken, else 503 with the reason."""
        reason = self._reason()
        if reason is None:
            return _json({"status": "ok"}, 200)
        return self._unavailable({"status": "unavailable", "reason": reason})

    async def report(self, request: Request) -> Response:
        """The status of `ready` with all details."""
        reason = self._reason()
        stats, progress, num_crashes = self._numbers()
        health = Health(
            status="ok" if reason is None else "unavailable",
            state=self._lifecycle.state,
            reason=reason,
            model=self._model,
            uptime_s=round(self._clock_s() - self._start_s, 3),
            load_progress=round(progress, 4),
            engine=EngineHealth(
                running=stats.num_running,
                waiting=stats.num_waiting,
                blocks_used=stats.num_blocks_used,
                blocks_total=stats.num_blocks,
                steps=stats.num_steps,
                step_age_s=self._age_s(stats.step_started_ns),
                queue_age_s=self._age_s(stats.head_queued_ns),
                restarts=num_crashes,
            ),
        )
        return _json(health, 200) if reason is None else self._unavailable(health)

    def _reason(self) -> str | None:
        """Why no requests are taken; None if they are."""
        if self._lifecycle.is_ready:
            return None
        match self._lifecycle.state:
            case State.LOADING:
                return "The model is loading."
            case State.DRAINING:
                return "The server is shutting down."
            case State.READY:
                return "The engine does not answer, or is being started again."
            case State.DOWN:
                return "The engine has stopped."

    def _age_s(self, since_ns: int) -> float:
        """The engine's clock is ours: `time.monotonic_ns()` of this machine."""
        return round(max(self._clock_s() - since_ns / 1e9, 0.0), 3) if since_ns else 0.0

    def _numbers(self) -> tuple[Stats, float, int]:
        try:
            client = self._lifecycle.client
        except EngineError:
            return Stats(), 0.0, 0
        progress = 1.0 if client.ready is not None else client.load_fraction
        return client.stats, progress, client.num_crashes

    def _unavailable(self, body: object) -> Response:
        response = _json(body, 503)
        response.headers["retry-after"] = str(_RETRY_AFTER_S[self._lifecycle.state])
        return response


def _json(body: object, status: int) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")
