"""What the pictures of a run are drawn from: its latencies in ms, its load over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from observability.bench.figures.latencies import Latencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from observability.bench.measured import Measured

_NUM_BINS = 100


def ttft_ms(results: Sequence[Measured]) -> NDArray[np.float64]:
    """Of the good ones that were streamed, from when they were due."""
    times = [Latencies.of(one).ttft for one in results if not one.error]
    return np.array([ms for ms in times if ms is not None], dtype=np.float64)


def itl_ms(results: Sequence[Measured]) -> NDArray[np.float64]:
    """All gaps between events of the good ones."""
    streams = [one.arrivals_s for one in results if not one.error and one.arrivals_s]
    gaps = [np.diff(np.array(arrivals_s)) * 1e3 for arrivals_s in streams]
    return np.concatenate(gaps) if gaps else np.empty(0)


def e2e_ms(results: Sequence[Measured]) -> NDArray[np.float64]:
    """Of the good ones, from when they were due."""
    return np.array(
        [(one.end_s - one.due_s) * 1e3 for one in results if not one.error], dtype=float
    )


def tokens_over_time(results: Sequence[Measured], duration_s: float) -> list[tuple[float, float]]:
    """Output tokens per second, in equal stretches of time; of failed requests too.

    The tokens of an answer are spread over its events evenly: `usage` tells only their number.
    """
    width_s = max(duration_s / _NUM_BINS, 0.2)
    bins = np.zeros(int(duration_s / width_s) + 1)
    for one in results:
        num_tokens = one.num_output_tokens or 0
        times_s = np.array(one.arrivals_s or [one.end_s])
        places = np.clip((times_s / width_s).astype(int), 0, len(bins) - 1)
        np.add.at(bins, places, num_tokens / len(times_s))
    # The last stretch is cut short by the end.
    if len(bins) > 1:
        bins = bins[:-1]
    return [((index + 0.5) * width_s, float(value / width_s)) for index, value in enumerate(bins)]


def in_flight(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """How many of the spans (begin, end) hold at each time where that changes, as steps."""
    begins = np.array([begin for begin, end in spans if end > begin])
    ends = np.array([end for begin, end in spans if end > begin])
    times = np.concatenate([begins, ends])
    changes = np.concatenate([np.ones(len(begins)), -np.ones(len(ends))])
    order = np.argsort(times, kind="stable")
    points: list[tuple[float, float]] = []
    level = 0.0
    for at_s, change in zip(times[order].tolist(), changes[order].tolist(), strict=True):
        points += [(at_s, level), (at_s, level + change)]
        level += change
    return points
