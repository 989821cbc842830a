"""`WatchLog`: what is seen beside a load, before anyone knows when the load begins."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from observability.bench.run import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_SAMPLES = 2_000_000
"""Some 100 MB: who watches for days keeps the first of them."""


class WatchLog:
    """Any number of watches add to one log, in one thread."""

    def __init__(self) -> None:
        self._points: dict[str, list[tuple[int, float]]] = {}
        self._num_points = 0

    def add(self, values: Mapping[str, float], at_ns: int | None = None) -> None:
        """Values seen at one time of CLOCK_MONOTONIC, or now. What is not finite is left out.

        Of three equal values in a row the middle one is dropped: the line through them is the
        same. Most counters of a server stand still most of the time.
        """
        at_ns = time.monotonic_ns() if at_ns is None else at_ns
        for name, value in values.items():
            if not math.isfinite(value):
                continue
            points = self._points.setdefault(name, [])
            if len(points) > 1 and points[-1][1] == points[-2][1] == value:
                points[-1] = (at_ns, value)
            elif self._num_points < _MAX_SAMPLES:
                points.append((at_ns, value))
                self._num_points += 1

    def samples(self, begin_ns: int) -> list[Sample]:
        """In the order of their times, counted from `begin_ns`."""
        points = [
            Sample((at_ns - begin_ns) / 1e9, name, value)
            for name, points in self._points.items()
            for at_ns, value in points
        ]
        return sorted(points, key=lambda one: one.at_s)
