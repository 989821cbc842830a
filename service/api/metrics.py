"""`GET /metrics`: the engine's last pushed numbers and the histograms, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from engine.errors import EngineError
from engine.protocol import Stats
from observability.engine_gauges import EngineGauges

if TYPE_CHECKING:
    from starlette.requests import Request

    from observability.metrics import Metrics
    from service.lifecycle import Lifecycle


class MetricsApi:
    """Plain text or OpenMetrics, as the `Accept` header asks. Never waits for the engine."""

    def __init__(self, metrics: Metrics, lifecycle: Lifecycle, model: str) -> None:
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._model = model

    async def scrape(self, request: Request) -> Response:
        stats, num_crashes = self._numbers()
        self._metrics.set_engine(engine_gauges(stats, num_crashes, self._model))
        body, content_type = self._metrics.render(request.headers.get("accept"))
        return Response(body, headers={"content-type": content_type})

    def _numbers(self) -> tuple[Stats, int]:
        try:
            client = self._lifecycle.client
        except EngineError:
            return Stats(), 0
        return client.stats, client.num_crashes


def engine_gauges(stats: Stats, num_crashes: int, model: str) -> EngineGauges:
    """The engine's numbers in the words of the metrics."""
    return EngineGauges(
        model_name=model,
        requests_running=stats.num_running,
        requests_waiting=stats.num_waiting,
        blocks_used=stats.num_blocks_used,
        blocks_total=stats.num_blocks,
        steps=stats.num_steps,
        prompt_tokens=stats.num_prompt_tokens,
        generated_tokens=stats.num_output_tokens,
        preemptions=stats.num_preemptions,
        finishes=stats.finishes,
        restarts=num_crashes,
    )
