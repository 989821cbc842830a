"""The engine's own numbers, and how they become metric families at a scrape.

Counters come from the engine as totals, so a collector states them; incrementing a second counter
by differences would drift from the truth at the first restart or missed scrape.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from observability import instruments
from observability.instruments import Instrument, MetricKind
from observability.span_counts import SpanCounts

FINISH_REASONS: Final = ("stop", "length", "abort", "timeout", "error")


class EngineGauges(msgspec.Struct, frozen=True, kw_only=True):
    """The engine at one moment; counters are totals since its start."""

    model_name: str = ""
    """Empty: no model is loaded, and the series that carry its name are left out."""
    requests_running: int = 0
    requests_waiting: int = 0
    blocks_used: int = 0
    blocks_total: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    restarts: int = 0
    finishes: dict[str, int] = msgspec.field(default_factory=dict)
    """Finish reason → requests."""


class EngineCollector(Collector):
    """States the latest snapshot and the telemetry counts whenever the registry is read."""

    def __init__(self, spans: Callable[[], SpanCounts]) -> None:
        self.latest = EngineGauges()
        self._spans = spans

    def describe(self) -> Iterable[Metric]:
        """The families without samples: the registry checks names with it, at registration."""
        declared = (*instruments.FROM_ENGINE, *instruments.FROM_TELEMETRY)
        return [_family(instrument) for instrument in declared]

    def collect(self) -> Iterable[Metric]:
        gauges, spans = self.latest, self._spans()
        yield _single(instruments.REQUESTS_RUNNING, gauges.requests_running)
        yield _single(instruments.REQUESTS_WAITING, gauges.requests_waiting)
        yield _single(instruments.KV_BLOCKS_USED, gauges.blocks_used)
        yield _single(instruments.KV_BLOCKS, gauges.blocks_total)
        yield _single(instruments.ENGINE_STEPS, gauges.steps)
        yield _single(instruments.PROMPT_TOKENS, gauges.prompt_tokens)
        yield _single(instruments.GENERATED_TOKENS, gauges.generated_tokens)
        yield _labelled(
            instruments.REQUEST_FINISHES, dict.fromkeys(FINISH_REASONS, 0) | gauges.finishes
        )
        yield _single(instruments.PREEMPTIONS, gauges.preemptions)
        yield _single(instruments.ENGINE_RESTARTS, gauges.restarts)
        if gauges.model_name:
            name = gauges.model_name
            usage = gauges.blocks_used / gauges.blocks_total if gauges.blocks_total else 0.0
            yield _labelled(instruments.VLLM_RUNNING, {name: gauges.requests_running})
            yield _labelled(instruments.VLLM_WAITING, {name: gauges.requests_waiting})
            yield _labelled(instruments.VLLM_KV_CACHE_USAGE, {name: usage})
        yield _single(instruments.SPANS_RECORDED, spans.recorded)
        yield _single(instruments.SPANS_EXPORTED, spans.exported)
        yield _single(instruments.SPANS_DROPPED, spans.dropped)


def _family(instrument: Instrument) -> CounterMetricFamily | GaugeMetricFamily:
    if instrument.kind is MetricKind.COUNTER:
        return CounterMetricFamily(instrument.name, instrument.help, labels=instrument.labels)
    return GaugeMetricFamily(instrument.name, instrument.help, labels=instrument.labels)


def _single(instrument: Instrument, value: float) -> Metric:
    family = _family(instrument)
    family.add_metric((), value)
    return family


def _labelled(instrument: Instrument, values: Mapping[str, float]) -> Metric:
    family = _family(instrument)
    for label, value in values.items():
        family.add_metric((label,), value)
    return family
