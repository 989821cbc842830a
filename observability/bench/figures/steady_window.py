"""`SteadyWindow`: the part of a run in which its load neither rose nor fell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.figures.in_flight import InFlight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.measured import Measured

_SHARE_OF_PLATEAU = 0.9
_MIN_BEGUN = 10
_MAX_TREND = 0.1


class SteadyWindow(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds from the begin of the run."""

    begin_s: float
    end_s: float

    @classmethod
    def of(cls, results: Sequence[Measured]) -> SteadyWindow | None:
        """The plateau is the median over time of the number in flight while requests were sent.

        The window goes from when 90 % of it is first there, and a first request has ended, to when
        90 % was last there, or the last request was sent: a closed loop loses its first and last
        wave, a rate its filling and draining. None, if in it too few requests began to be a stream (nine tenths of the plateau,
        and ten), or if its halves differ by more than a tenth and what chance does to arrivals: a
        burst, a ramp, an overload whose queue grows.
        """
        in_flight = InFlight(results)
        if not in_flight.times_s.size:
            return None
        sent_s = np.array([one.sent_s for one in results])
        plateau = in_flight.median(float(sent_s.min()), float(sent_s.max()))
        (busy,) = np.nonzero(in_flight.nums >= max(_SHARE_OF_PLATEAU * plateau, 1))
        first_end_s = min((one.end_s for one in results if not one.error), default=math.inf)
        begin_s = max(float(in_flight.times_s[busy[0]]), first_end_s)
        end_s = min(float(in_flight.times_s[busy[-1] + 1]), float(sent_s.max()))
        num_begun = int(((sent_s >= begin_s) & (sent_s <= end_s)).sum())
        if end_s <= begin_s or num_begun < max(_MIN_BEGUN, _SHARE_OF_PLATEAU * plateau):
            return None
        middle_s = (begin_s + end_s) / 2
        first, second = in_flight.mean(begin_s, middle_s), in_flight.mean(middle_s, end_s)
        # For Poisson arrivals that all take as long the difference of the halves' means has a
        # standard deviation of 2 / sqrt(n) of the mean.
        if abs(second - first) > (_MAX_TREND + 4 / math.sqrt(num_begun)) * (first + second) / 2:
            return None
        return cls(begin_s=begin_s, end_s=end_s)

    @property
    def duration_s(self) -> float:
        return self.end_s - self.begin_s
