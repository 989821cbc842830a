"""`Summary`: the figures of a run, computed from what was measured. Pure: the same run, the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.figures.distribution import Distribution
from observability.bench.figures.in_flight import InFlight
from observability.bench.figures.interval import Interval, share_interval
from observability.bench.figures.latencies import LATENCIES, Latencies
from observability.bench.figures.objective import is_met
from observability.bench.figures.steady_window import SteadyWindow
from observability.bench.figures.throughput import RATES, Throughput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from observability.bench.measured import Measured
    from observability.bench.run import Run


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """What of the service met every limit of the objective."""

    num_met: int
    per_s: float
    share: float
    """Of all requests; failed ones meet no objective."""
    interval: Interval | None
    """Of the share."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies are in ms and of good requests; None is what the run does not tell.

    `itl` has every gap between two arrivals of one request, all pooled; the others one value for
    each request.
    """

    num_requests: int
    num_good: int
    duration_s: float
    ttft: Distribution | None
    ttfot: Distribution | None
    itl: Distribution | None
    tpot: Distribution | None
    e2e: Distribution | None
    queued: Distribution | None
    throughput: Throughput | None
    """From the begin to the end of the last request."""
    steady: Throughput | None
    """Inside `window`."""
    window: SteadyWindow | None
    tokens_per_s_per_user: float | None
    """While an answer runs: the tokens after the firsts by the time that they took together."""
    mean_concurrency: float
    """With the server, over the whole duration."""
    peak_concurrency: int
    asked_rate_per_s: float | None
    """At which sessions were due, from the first to the last; None in a closed loop or burst."""
    sent_rate_per_s: float | None
    """At which they were sent."""
    errors: dict[str, int]
    """By kind, the most frequent first."""
    cached_share: float | None
    """Of the prompt tokens of requests whose `usage` tells both."""
    num_without_usage: int
    """Good requests that tell no number of output tokens."""
    num_wrong_length: int
    """Good requests with another number of output tokens than was asked for."""
    goodput: Goodput | None
    """None without an objective, or if no answer tells what it asks."""

    @classmethod
    def of(cls, run: Run) -> Summary:
        results = run.results
        good = [one for one in results if not one.error]
        # A time of 0 happens if nothing was measured, or by rounding.
        duration_s = max([run.duration_s, *(one.end_s for one in results)], default=0.0)
        window = SteadyWindow.of(results)
        in_flight = InFlight(results)
        asked, sent = _rates_per_s(run)
        told = [one for one in good if one.num_output_tokens is not None]
        return cls(
            num_requests=len(results),
            num_good=len(good),
            duration_s=duration_s,
            **_distributions(good),
            throughput=Throughput.of(good, 0.0, duration_s) if duration_s > 0 else None,
            steady=Throughput.of(good, window.begin_s, window.end_s) if window else None,
            window=window,
            tokens_per_s_per_user=_tokens_per_s_per_user(told),
            mean_concurrency=in_flight.mean(0.0, duration_s) if duration_s > 0 else 0.0,
            peak_concurrency=in_flight.peak,
            asked_rate_per_s=asked,
            sent_rate_per_s=sent,
            errors=dict(Counter(one.error for one in results if one.error).most_common()),
            cached_share=_cached_share(good),
            num_without_usage=len(good) - len(told),
            num_wrong_length=sum(
                one.num_asked_tokens not in (0, one.num_output_tokens) for one in told
            ),
            goodput=_goodput(results, run.plan.objective, duration_s),
        )

    def figures(self) -> dict[str, float]:
        """What is known, by the names of `figure.NAMES`; never NaN or infinite."""
        values: dict[str, float | None] = {}
        for name in LATENCIES:
            distribution: Distribution | None = getattr(self, name)
            if distribution is not None:
                for statistic, value in distribution.statistics().items():
                    values[f"{statistic}_{name}_ms"] = value
        for prefix, throughput in (("", self.throughput), ("steady_", self.steady)):
            values |= {f"{prefix}{name}": getattr(throughput, name, None) for name in RATES}
        num, num_good = self.num_requests, self.num_good
        values |= {
            "tokens_per_s_per_user": self.tokens_per_s_per_user,
            "goodput_per_s": self.goodput.per_s if self.goodput else None,
            "goodput_share": self.goodput.share if self.goodput else None,
            "cached_share": self.cached_share,
            "error_rate": (num - num_good) / num if num else None,
            "missing_usage_share": self.num_without_usage / num_good if num_good else None,
            "wrong_length_share": self.num_wrong_length / num_good if num_good else None,
            "duration_s": self.duration_s,
            "steady_duration_s": self.window.duration_s if self.window else None,
            "mean_concurrency": self.mean_concurrency,
            "peak_concurrency": float(self.peak_concurrency),
            "asked_rate_per_s": self.asked_rate_per_s,
            "sent_rate_per_s": self.sent_rate_per_s,
        }
        return {name: value for name, value in values.items() if value is not None}

    def interval(self, figure: str) -> Interval | None:
        """Of a figure, as far as one run can tell; None if it tells none."""
        if figure == "error_rate":
            return share_interval(self.num_requests - self.num_good, self.num_requests)
        if figure in ("goodput_share", "goodput_per_s"):
            per_share = self.num_requests / self.duration_s if figure == "goodput_per_s" else 1.0
            return _scaled(self.goodput.interval, per_share) if self.goodput else None
        if figure.startswith("steady_"):
            return (
                self.steady.intervals.get(figure.removeprefix("steady_")) if self.steady else None
            )
        if figure in RATES:
            return self._rate_interval(figure)
        statistic, _, latency = figure.removesuffix("_ms").partition("_")
        distribution = getattr(self, latency, None) if latency in LATENCIES else None
        return distribution.intervals.get(statistic) if distribution else None

    def _rate_interval(self, name: str) -> Interval | None:
        if self.throughput is None:
            return None
        value = getattr(self.throughput, name)
        steady_value = getattr(self.steady, name, None)
        if value is None or self.steady is None or not steady_value:
            return self.throughput.intervals.get(name)
        # Filling and draining are no chance: how sure it is, the steady part tells.
        return _scaled(self.steady.intervals.get(name), value / steady_value)


def _distributions(good: Sequence[Measured]) -> dict[str, Distribution | None]:
    times = [Latencies.of(one) for one in good]
    distributions = {}
    for name in LATENCIES:
        values = [getattr(one, name) for one in times]
        distributions[name] = Distribution.of([one for one in values if one is not None])
    streams = [np.diff(one.arrivals_s) * 1e3 for one in good if len(one.arrivals_s) > 1]
    groups = np.repeat(np.arange(len(streams)), [len(gaps) for gaps in streams])
    gaps_ms = np.concatenate(streams) if streams else np.empty(0)
    return {**distributions, "itl": Distribution.of(gaps_ms, groups)}


def _tokens_per_s_per_user(told: Sequence[Measured]) -> float | None:
    num, stream_s = 0, 0.0
    for one in told:
        if len(one.arrivals_s) > 1 and one.num_output_tokens:
            num += one.num_output_tokens - 1
            stream_s += one.arrivals_s[-1] - one.arrivals_s[0]
    return num / stream_s if stream_s > 0 else None


def _rates_per_s(run: Run) -> tuple[float | None, float | None]:
    """Asked and sent, by the first turns: when the others follow, the server decides too."""
    firsts = [one for one in run.results if one.turn == 0]
    if len(firsts) < 2 or run.plan.arrival.strip().lower() == "closed":
        return None, None
    due_s = [one.due_s for one in firsts]
    sent_s = [one.sent_s for one in firsts]
    due_span_s, sent_span_s = max(due_s) - min(due_s), max(sent_s) - min(sent_s)
    if due_span_s <= 0 or sent_span_s <= 0:
        return None, None
    return (len(firsts) - 1) / due_span_s, (len(firsts) - 1) / sent_span_s


def _cached_share(good: Sequence[Measured]) -> float | None:
    num_cached = num_prompt = 0
    for one in good:
        if one.num_cached_tokens is not None and one.num_prompt_tokens is not None:
            num_cached += one.num_cached_tokens
            num_prompt += one.num_prompt_tokens
    return num_cached / num_prompt if num_prompt else None


def _goodput(
    results: Sequence[Measured], limits: Mapping[str, float], duration_s: float
) -> Goodput | None:
    is_told = any(not one.error and one.num_output_tokens is not None for one in results)
    is_failure = all(one.error for one in results)
    if not limits or duration_s <= 0 or ("tpot" in limits and not (is_told or is_failure)):
        return None
    num_met = sum(is_met(one, limits) for one in results)
    return Goodput(
        num_met=num_met,
        per_s=num_met / duration_s,
        share=num_met / len(results) if results else 0.0,
        interval=share_interval(num_met, len(results)),
    )


def _scaled(interval: Interval | None, by: float) -> Interval | None:
    if interval is None:
        return None
    low, high = interval.low, interval.high
    return Interval(None if low is None else low * by, None if high is None else high * by)
