"""`Interval`: between what limits a figure is, 95 % sure, and the ways to find them.

Means: a bootstrap over groups (requests), with the percentiles widened for few of them as Hesterberg
says ("What Teachers Should Know About the Bootstrap", 2015, 5.3.3); a normal interval beyond 2000
groups, where the two agree. Percentiles: the binomial ranks of order statistics (David & Nagaraja,
"Order Statistics", 7.1), to which a bootstrap of a percentile comes without drawing anything.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

Z = NormalDist().inv_cdf(0.975)
_TAIL = 0.025
_SEED = 20261201
_NUM_RESAMPLES = 1000
_MAX_RESAMPLED = 2000
_MAX_EXACT = 2000


class Interval(msgspec.Struct, frozen=True):
    """An end that cannot be known with so few values is None."""

    low: float | None
    high: float | None

    def includes(self, value: float) -> bool:
        """An open end includes all beyond it."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    def with_point(self, value: float) -> Interval:
        """Wide enough for the figure itself, which rounding may have put beside it."""
        low, high = self.low, self.high
        return Interval(
            None if low is None else min(low, value), None if high is None else max(high, value)
        )


def mean_interval(sums: Floats, counts: Floats) -> Interval | None:
    """Of the mean of values that come in groups: the sum and the number in each group.

    None for fewer than two groups. The order of the groups does not matter.
    """
    num = len(sums)
    if num < 2:
        return None
    if num > _MAX_RESAMPLED:
        mean = float(sums.sum() / counts.sum())
        deviations = sums - mean * counts
        spread = math.sqrt(num / (num - 1) * float(deviations @ deviations)) / float(counts.sum())
        return Interval(mean - Z * spread, mean + Z * spread)
    order = np.lexsort((sums, counts))
    chosen = np.random.default_rng(_SEED).integers(0, num, (_NUM_RESAMPLES, num), dtype=np.int32)
    means = sums[order][chosen].sum(axis=1) / counts[order][chosen].sum(axis=1)
    tail = NormalDist().cdf(-math.sqrt(num / (num - 1)) * student_quantile(num - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def rank_interval(ordered: Floats, share: float, num_effective: int) -> Interval:
    """Of the quantile at `share` of ascending values that are worth `num_effective` free ones."""
    num, num_free = len(ordered), min(max(num_effective, 1), len(ordered))
    low_rank, high_rank = _ranks(num_free, share)
    low = high = None
    if low_rank >= 1:
        low = float(ordered[(low_rank - 1) * num // num_free])
    if high_rank <= num_free:
        high = float(ordered[-(-high_rank * num // num_free) - 1])
    return Interval(low, high)


def share_interval(num: int, num_of: int) -> Interval | None:
    """Of a share of independent things (Wilson 1927). None for a share of nothing."""
    if not num_of:
        return None
    share, squared = num / num_of, Z**2
    middle = (share + squared / (2 * num_of)) / (1 + squared / num_of)
    half = math.sqrt(share * (1 - share) / num_of + squared / (4 * num_of**2))
    half *= Z / (1 + squared / num_of)
    return Interval(max(0.0, middle - half), min(1.0, middle + half)).with_point(share)


def student_interval(values: Floats) -> Interval | None:
    """Of the mean of a few independent values. None for fewer than two."""
    if len(values) < 2:
        return None
    mean = float(values.mean())
    half = student_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(mean - half, mean + half)


def median_ratio_interval(a: Floats, b: Floats) -> Interval:
    """Of median(b) / median(a), by resampling both. All values are above 0.

    In 2000 simulated cases it held the truth in 93 % with 4 values on each side, in 97 % with 5.
    """
    random = np.random.default_rng(_SEED)
    medians = [
        np.median(np.sort(side)[random.integers(0, len(side), (_NUM_RESAMPLES, len(side)))], axis=1)
        for side in (a, b)
    ]
    low, high = np.quantile(medians[1] / medians[0], [_TAIL, 1 - _TAIL])
    return Interval(float(low), float(high)).with_point(float(np.median(b) / np.median(a)))


def student_quantile(num_free: int) -> float:
    """At 0.975 of Student's distribution (Abramowitz & Stegun 26.7.5; exact for 1 and 2)."""
    if num_free <= 2:
        return 12.7062 if num_free == 1 else 4.30265
    z, n = Z, num_free
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def _ranks(num: int, share: float) -> tuple[int, int]:
    """From 1: below the first and above the second the quantile is in 2.5 % of cases each.

    0 and `num` + 1 are ranks that no value has.
    """
    if num > _MAX_EXACT:
        half = Z * math.sqrt(num * share * (1 - share))
        return math.floor(num * share - half), math.ceil(num * share + half) + 1
    below = np.arange(num + 1)
    log_factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, num + 1)))))
    log_chances = (
        log_factorials[num]
        - log_factorials
        - log_factorials[::-1]
        + below * math.log(share)
        + (num - below) * math.log1p(-share)
    )
    at_most = np.cumsum(np.exp(log_chances))
    # The quantile lies below the value of rank r if fewer than r values lie below the quantile.
    low = int(np.searchsorted(at_most, _TAIL, side="right"))
    high = int(np.searchsorted(at_most, 1 - _TAIL, side="left")) + 1
    return low, high
