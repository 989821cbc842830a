"""`Difference`: of one figure between two sides, from their runs or, if those are few, their requests.

Which of the two is asked, `comparison` decides.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.figures.figure import is_more_better
from observability.bench.figures.interval import Interval, Z, median_ratio_interval
from observability.bench.figures.permutation import pair_p_values, split_p_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from observability.bench.figures.interval import Floats
    from observability.bench.figures.summary import Summary

    Figures = Mapping[str, float]

MAX_P_VALUE = 0.05
ASSUMED_RUN_STD = 0.05
"""How much runs of one thing differ, as a share of the figure, where it cannot be seen."""


class Verdict(StrEnum):
    """Of B. For a figure that is no speed, read better and worse."""

    FASTER = "faster"
    SLOWER = "slower"
    DIFFERENT = "different"
    """For a figure of which neither more nor less is better."""
    NO_DIFFERENCE = "no difference seen"
    """Which is not: no difference."""
    NOT_KNOWN = "not known"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Of one figure; A is the base."""

    name: str
    a: float | None
    """The median of the runs; None if not every one tells the figure."""
    b: float | None
    ratio: float | None = None
    """b / a, in pairs the median of theirs; None unless all values are above 0."""
    interval: Interval | None = None
    """Of the ratio."""
    p_value: float | None = None
    """Adjusted for the number of figures; None if there are too few runs for a test."""
    verdict: Verdict = Verdict.NOT_KNOWN

    @property
    def is_seen(self) -> bool:
        return self.verdict in {Verdict.FASTER, Verdict.SLOWER, Verdict.DIFFERENT}


def differences_by_runs(
    a: Sequence[Figures], b: Sequence[Figures], names: Sequence[str], *, is_paired: bool = False
) -> list[Difference]:
    """By a permutation test. At least 4 runs on each side; in pairs at least 6, equally many."""
    known = [name for name in names if all(name in one for one in (*a, *b))]
    if not known:
        return [_unknown(name, a, b) for name in names]
    columns_a, columns_b = (
        np.array([[one[name] for name in known] for one in side]) for side in (a, b)
    )
    # What is above 0 is compared by ratios, the rest (a rate of errors) by differences.
    is_above = np.minimum(columns_a.min(axis=0), columns_b.min(axis=0)) > 0
    scaled_a, scaled_b = (
        np.where(is_above, np.log(np.where(is_above, columns, 1.0)), columns)
        for columns in (columns_a, columns_b)
    )
    if is_paired:
        p_values = pair_p_values(scaled_b - scaled_a)
    else:
        p_values = split_p_values(scaled_a, scaled_b)
    change = scaled_b.mean(axis=0) - scaled_a.mean(axis=0)
    found = {}
    for index, name in enumerate(known):
        of_a, of_b = columns_a[:, index], columns_b[:, index]
        ratio, interval = _ratio(of_a, of_b, is_paired) if is_above[index] else (None, None)
        p_value = float(p_values[index])
        found[name] = Difference(
            name=name,
            a=float(np.median(of_a)),
            b=float(np.median(of_b)),
            ratio=ratio,
            interval=interval,
            p_value=p_value,
            verdict=_verdict(name, bool(change[index] > 0), is_seen=p_value <= MAX_P_VALUE),
        )
    return [found.get(name) or _unknown(name, a, b) for name in names]


def differences_by_requests(
    a: Sequence[Summary], b: Sequence[Summary], names: Sequence[str]
) -> list[Difference]:
    """By the intervals that each run has, and an assumption of how much runs differ."""
    figures_a, figures_b = ([one.figures() for one in side] for side in (a, b))
    found = []
    for name in names:
        unknown = _unknown(name, figures_a, figures_b)
        intervals = [[one.interval(name) for one in side] for side in (a, b)]
        if unknown.a is None or unknown.b is None or not all(map(_all_closed, intervals)):
            found.append(unknown)
            continue
        values = [[one[name] for one in side] for side in (figures_a, figures_b)]
        found.append(_by_limits(name, *map(_limits, values, intervals)))
    return found


class _Side(msgspec.Struct, frozen=True):
    """Medians of a side's runs: its figure and its limits."""

    value: float
    low: float
    high: float
    num: int


def _by_limits(name: str, a: _Side, b: _Side) -> Difference:
    is_above = min(a.low, b.low) > 0
    points = [math.log(one.value) if is_above else one.value for one in (a, b)]
    below, above = zip(*(_distances(one, is_above) for one in (a, b)), strict=True)
    change = points[1] - points[0]
    low = change - math.hypot(below[1], above[0])
    high = change + math.hypot(above[1], below[0])
    return Difference(
        name=name,
        a=a.value,
        b=b.value,
        ratio=math.exp(change) if is_above else None,
        interval=Interval(math.exp(low), math.exp(high)) if is_above else None,
        verdict=_verdict(name, change > 0, is_seen=low > 0 or high < 0),
    )


def _distances(side: _Side, is_above: bool) -> tuple[float, float]:
    """From the figure to its limits, with what runs may differ; as logarithms, if that can be."""
    of_runs = Z * ASSUMED_RUN_STD / math.sqrt(side.num)
    if is_above:
        below, above = math.log(side.value / side.low), math.log(side.high / side.value)
    else:
        below, above = side.value - side.low, side.high - side.value
        of_runs *= abs(side.value)
    inside = 1 / math.sqrt(side.num)
    return (
        math.hypot(max(0.0, below) * inside, of_runs),
        math.hypot(max(0.0, above) * inside, of_runs),
    )


def _limits(values: Sequence[float], intervals: Sequence[Interval | None]) -> _Side:
    closed = [one for one in intervals if one is not None]
    return _Side(
        float(np.median(values)),
        float(np.median([one.low for one in closed if one.low is not None])),
        float(np.median([one.high for one in closed if one.high is not None])),
        len(values),
    )


def _all_closed(intervals: Sequence[Interval | None]) -> bool:
    return all(one is not None and None not in (one.low, one.high) for one in intervals)


def _ratio(a: Floats, b: Floats, is_paired: bool) -> tuple[float, Interval]:
    if is_paired:
        return float(np.median(b / a)), median_ratio_interval(np.ones(1), b / a)
    return float(np.median(b) / np.median(a)), median_ratio_interval(a, b)


def _unknown(name: str, a: Sequence[Figures], b: Sequence[Figures]) -> Difference:
    medians = [
        float(np.median([one[name] for one in side])) if all(name in one for one in side) else None
        for side in (a, b)
    ]
    return Difference(name=name, a=medians[0], b=medians[1])


def _verdict(name: str, is_more: bool, *, is_seen: bool) -> Verdict:
    is_more_good = is_more_better(name)
    if not is_seen:
        return Verdict.NO_DIFFERENCE
    if is_more_good is None:
        return Verdict.DIFFERENT
    return Verdict.FASTER if is_more == is_more_good else Verdict.SLOWER
