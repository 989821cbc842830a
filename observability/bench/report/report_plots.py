"""The pictures of a report: which plots a run has, with their names and what they say in words."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from observability.bench.report.plot import Curve, Frame, draw_curves, draw_histogram, legend
from observability.bench.report.plot_scale import (
    exact_scale,
    linear_scale,
    number_text,
    tail_scale,
    tail_shares,
)
from observability.bench.report.run_series import (
    e2e_ms,
    in_flight,
    itl_ms,
    tokens_over_time,
    ttft_ms,
)
from observability.bench.report.swim_lanes import MAX_LANES, STATES, draw_swim_lanes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from observability.bench.run import Run, Sample

_HUES = ("blue", "orange", "violet", "green", "red", "grey")
_NUM_SHARES = 120
_NUM_BINS = 40
_MAX_CURVES = 6
_LATENCIES = (
    ("Time to first token", "blue", ttft_ms),
    ("Between tokens", "green", itl_ms),
    ("Whole request", "violet", e2e_ms),
)
_SAMPLED = (
    (
        "Requests in the server",
        (
            ("kvorum_requests_running", "kvorum_requests_waiting"),
            ("vllm:num_requests_running", "vllm:num_requests_waiting"),
            ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
            ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
        ),
    ),
    (
        "Share of the KV cache in use",
        (
            ("vllm:kv_cache_usage_perc",),
            ("vllm:gpu_cache_usage_perc",),
            ("sglang:token_usage",),
            ("llamacpp:kv_cache_usage_ratio",),
        ),
    ),
    ("GPU: share of time in use", ((".utilization",),)),
    ("GPU: power, W", ((".power_w",),)),
    ("GPU: memory, bytes", ((".memory_bytes",),)),
    ("CPU of the client, cores", (("client.cpu",),)),
)
"""A title, and groups of names of which the first is drawn that a run has."""


def latency_plots(runs: Sequence[tuple[str, Sequence[Run]]]) -> list[str]:
    """A curve over the percentiles for each latency, with a line for each of the named groups."""
    figures = []
    for title, hue, values_of in _LATENCIES:
        named = [
            (name, np.sort(np.concatenate([values_of(run.results) for run in group])))
            for name, group in runs
        ]
        named = [(name, values) for name, values in named if len(values)]
        if named:
            hues = [hue] if len(runs) == 1 else _HUES
            figures.append(_percentiles(f"{title}, ms", named, hues))
    return figures


def histograms(run: Run) -> list[str]:
    """How often each latency was had, without the slowest hundredth."""
    figures = []
    for title, hue, values_of in _LATENCIES:
        values = values_of(run.results)
        if len(values) > 1:
            figures.append(_histogram(f"{title}: how often", hue, values))
    return figures


def timeline(run: Run) -> str:
    """The swim lanes."""
    num = min(len(run.results), MAX_LANES)
    more = f"the first {num} of {len(run.results)}" if num < len(run.results) else f"all {num}"
    title = f"Requests over time, {more}"
    return _figure(title, draw_swim_lanes(run.results), legend_of_areas(STATES), "wide")


def load_plots(run: Run) -> list[str]:
    """Tokens over time, and requests at once as the client saw them."""
    if not run.results or run.duration_s <= 0:
        return []
    tokens = tokens_over_time(run.results, run.duration_s)
    curves = [
        Curve("in flight", "blue", in_flight([(one.sent_s, one.end_s) for one in run.results]))
    ]
    waiting = in_flight([(one.due_s, one.sent_s) for one in run.results])
    curves.append(Curve("waiting in the client", "orange", waiting))
    return [
        _over_time("Output tokens per second", [Curve("tokens per second", "green", tokens)]),
        _over_time("Requests at once", curves),
    ]


def sampled_plots(run: Run) -> list[str]:
    """What was seen beside the load, of the series that are known."""
    series = series_by_name(run.samples)
    figures = []
    for title, groups in _SAMPLED:
        found = next((names for group in groups if (names := _matching(series, group))), [])
        curves = [Curve(name, hue, series[name]) for name, hue in zip(found, _HUES, strict=False)]
        if curves:
            figures.append(_over_time(title, curves[:_MAX_CURVES]))
    return figures


def series_by_name(samples: Iterable[Sample]) -> dict[str, list[tuple[float, float]]]:
    """Times and values of each, by name; without what is no number."""
    series: dict[str, list[tuple[float, float]]] = {}
    for one in samples:
        if math.isfinite(one.at_s + one.value):
            series.setdefault(one.name, []).append((one.at_s, one.value))
    return {name: sorted(points) for name, points in sorted(series.items())}


def legend_of_areas(entries: Iterable[tuple[str, str]]) -> str:
    """HTML: names beside squares of their hues."""
    return "".join(
        f'<span class="key"><svg viewBox="0 0 10 10" class="square" aria-hidden="true">'
        f'<rect class="area {hue}" width="10" height="10" rx="2"/></svg>{escape(name)}</span>'
        for name, hue in entries
    )


def _percentiles(
    title: str, named: Sequence[tuple[str, NDArray[np.float64]]], hues: Sequence[str]
) -> str:
    num_values = max(len(values) for _, values in named)
    curves = []
    said = []
    for (name, values), hue in zip(named, hues, strict=False):
        shares = tail_shares(len(values), min(_NUM_SHARES, 20 + len(values)))
        points = np.quantile(values, shares, method="inverted_cdf").tolist()
        curves.append(Curve(name, hue, list(zip(shares, points, strict=True))))
        p50, p99 = np.quantile(values, [0.5, 0.99], method="inverted_cdf").tolist()
        said.append(f"{name}: half within {number_text(p50)}, 99 % within {number_text(p99)}")
    frame = Frame(
        title=f"{title}, over percentiles. {'; '.join(said)}",
        x=tail_scale(num_values),
        y=linear_scale(0.0, max(curve.points[-1][1] for curve in curves)),
        x_label="percentile",
    )
    return _figure(title, draw_curves(frame, curves), _legend_of(curves))


def _histogram(title: str, hue: str, values: NDArray[np.float64]) -> str:
    top = float(np.quantile(values, 0.99))
    x = linear_scale(min(0.0, float(values.min())), max(top, 1e-3))
    counts, edges = np.histogram(values, bins=_NUM_BINS, range=(x.low, x.high))
    num_over = len(values) - int(counts.sum())
    over = f" ({num_over:,} above)".replace(",", "\u202f") if num_over else ""
    frame = Frame(
        title=f"{title}: {len(values)} values, most of them between "
        f"{number_text(float(np.quantile(values, 0.05)))} and {number_text(top)} ms",
        x=x,
        y=linear_scale(0.0, float(counts.max())),
        x_label=f"ms{over}",
    )
    return _figure(title, draw_histogram(frame, hue, edges.tolist(), counts.tolist()))


def _over_time(title: str, curves: Sequence[Curve]) -> str:
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ""
    times = [at_s for curve in curves for at_s, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    frame = Frame(
        title=f"{title}, over time: from {number_text(min(values))} to {number_text(max(values))}",
        x=exact_scale(min(0.0, min(times)), max(times), 8),
        y=linear_scale(min(0.0, min(values)), max(values)),
        x_label="seconds from the begin",
        width=530,
    )
    return _figure(title, draw_curves(frame, curves), _legend_of(curves), "half")


def _legend_of(curves: Sequence[Curve]) -> str:
    return legend((curve.name, curve.hue) for curve in curves) if len(curves) > 1 else ""


def _figure(title: str, picture: str, keys: str = "", size: str = "third") -> str:
    shown = f'<div class="keys">{keys}</div>' if keys else ""
    return (
        f'<figure class="{size}"><figcaption>{escape(title)}</figcaption>{shown}{picture}</figure>'
    )


def _matching(series: dict[str, list[tuple[float, float]]], group: Sequence[str]) -> list[str]:
    """Names with any labels; or of any GPU, for those that begin with a point."""
    return [
        name
        for wanted in group
        for name in series
        if (name.endswith(wanted) if wanted[0] == "." else name.partition("{")[0] == wanted)
    ]
