"""`Distribution`: how many values there are, where they lie, and how sure that is.

A percentile is known if at least one value is to be expected above it: n * (1 - share) >= 1, so a
p99 needs 100 values, a p95 20, a p90 10, a p50 2. With fewer it is None: it could only be the
largest. Its interval may still be open at an end: a p99 has an upper limit from 368 values on.
Percentiles are interpolated as numpy does and other benches do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.figures.interval import Interval, mean_interval, rank_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from observability.bench.figures.interval import Floats

PERCENTS = (50, 90, 95, 99)
STATISTICS = ("mean", "std", "min", "p50", "p90", "p95", "p99", "max")


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Of at least one value. What is None cannot be known with so few."""

    n: int
    mean: float
    std: float | None
    """Of the sample, with n - 1."""
    min: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float
    intervals: dict[str, Interval]
    """By "mean", "p50", ... of those that are known."""

    @classmethod
    def of(
        cls, values: Sequence[float] | Floats, groups: npt.NDArray[np.int64] | None = None
    ) -> Distribution | None:
        """None of nothing. Neither the order of the values nor the numbers of groups matter.

        `groups` has for each value the number of the request that it is of, from 0 without gaps:
        values of one request are alike, and worth less than as many of different ones. What that
        makes of percentiles is the variance of a ratio (Woodruff 1952).
        """
        array = np.asarray(values, dtype=np.float64)
        if not array.size:
            return None
        order = np.argsort(array, kind="stable")
        ordered = array[order]
        of_group = None if groups is None else groups[order]
        low, high = float(ordered[0]), float(ordered[-1])
        mean = min(high, max(low, float(ordered.mean())))  # rounding may take it beyond
        intervals = {}
        if limits := _mean_interval(ordered, of_group):
            intervals["mean"] = limits.with_point(mean)
        percentiles: dict[str, float | None] = {}
        for percent in PERCENTS:
            name = f"p{percent}"
            percentiles[name] = None
            if is_known(percent, array.size):
                point = float(np.quantile(ordered, percent / 100))
                num_free = _num_free(ordered, point, of_group)
                percentiles[name] = point
                intervals[name] = rank_interval(ordered, percent / 100, num_free).with_point(point)
        return cls(
            n=array.size,
            mean=mean,
            std=float(ordered.std(ddof=1)) if array.size > 1 else None,
            min=low,
            max=high,
            intervals=intervals,
            **percentiles,
        )

    def statistics(self) -> dict[str, float]:
        """Those that are known, by name."""
        values = {name: getattr(self, name) for name in STATISTICS}
        return {name: value for name, value in values.items() if value is not None}


def is_known(percent: int, num: int) -> bool:
    """Whether so many values tell this percentile."""
    return num * (100 - percent) >= 100


def num_needed(percent: int) -> int:
    """Values, for this percentile to be known."""
    return -(-100 // (100 - percent))


def _mean_interval(ordered: Floats, groups: npt.NDArray[np.int64] | None) -> Interval | None:
    if groups is None:
        return mean_interval(ordered, np.ones_like(ordered))
    counts = np.bincount(groups).astype(np.float64)
    return mean_interval(np.bincount(groups, weights=ordered).astype(np.float64), counts)


def _num_free(ordered: Floats, point: float, groups: npt.NDArray[np.int64] | None) -> int:
    """How many independent values would tell as much of this percentile as these do."""
    num = len(ordered)
    if groups is None:
        return num
    counts = np.bincount(groups).astype(np.float64)
    num_groups = len(counts)
    num_below = int(np.searchsorted(ordered, point, side="right"))
    share = num_below / num
    if num_groups < 2 or share == 1.0:
        return num_groups
    in_group = np.bincount(groups[:num_below], minlength=num_groups)
    deviations = in_group - share * counts
    variance = num_groups / (num_groups - 1) * float(deviations @ deviations) / num**2
    return num if variance * num <= share * (1 - share) else int(share * (1 - share) / variance)
