"""`InFlight`: how many requests were with the server, as a function of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.figures.interval import Floats
    from observability.bench.measured import Measured


class InFlight:
    """From sent to end, failed requests too. Steps: `nums[i]` from `times_s[i]` to the next."""

    def __init__(self, results: Sequence[Measured]) -> None:
        spans = [(one.sent_s, one.end_s) for one in results if one.end_s > one.sent_s]
        begins = np.array([begin for begin, _ in spans], dtype=np.float64)
        ends = np.array([end for _, end in spans], dtype=np.float64)
        self.times_s = np.unique(np.concatenate((begins, ends)))
        begun = np.searchsorted(np.sort(begins), self.times_s, side="right")
        ended = np.searchsorted(np.sort(ends), self.times_s, side="right")
        self.nums: Floats = (begun - ended).astype(np.float64)

    @property
    def peak(self) -> int:
        return int(self.nums.max(initial=0))

    def mean(self, begin_s: float, end_s: float) -> float:
        """Over a span of time that is not empty."""
        return float(self.nums @ self._lengths_s(begin_s, end_s)) / (end_s - begin_s)

    def median(self, begin_s: float, end_s: float) -> float:
        """What it was at or below for half of the time; 0 of an empty span."""
        lengths_s = self._lengths_s(begin_s, end_s)
        order = np.argsort(self.nums, kind="stable")
        passed_s = np.cumsum(lengths_s[order])
        if not passed_s.size or passed_s[-1] <= 0:
            return 0.0
        return float(self.nums[order][np.searchsorted(passed_s, passed_s[-1] / 2)])

    def _lengths_s(self, begin_s: float, end_s: float) -> Floats:
        """Of each step, the part inside the span."""
        times_s = np.clip(self.times_s, begin_s, end_s)
        return np.diff(times_s, append=end_s if times_s.size else [])
