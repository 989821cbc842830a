"""`Arrival`: when sessions are due, from the words of the command line and a seed. No clock.

Another arrival is another class and a line in `_FORMS`; nothing else knows which there are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from observability.bench.errors import WrongOption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from observability.bench.turn import Session

POSSIBLE = (
    "closed, burst, constant:RATE, poisson:RATE, gamma:RATE,BURSTINESS, ramp:FROM-TO,SECONDS, "
    "ramp:FROM-TO,SECONDS,exponential, trace, trace:SPEEDUP (rates in sessions a second)"
)


class Arrival(Protocol):
    """When each of some sessions is due. It holds no state: the same seed gives the same times."""

    def due_times_s(self, recorded_s: Sequence[float | None], seed: int) -> list[float | None]:
        """In seconds from the begin, ascending, the first at 0; None: when a place is free.

        One for each of `recorded_s`, the sessions' own times if their workload has such. Raises
        `WrongOption` if those are needed and are not there.
        """
        ...


class ClosedLoop(msgspec.Struct, frozen=True):
    """The next session begins when one has ended: as many at once as `--concurrency` says."""

    def due_times_s(self, recorded_s: Sequence[float | None], seed: int) -> list[float | None]:
        return [None] * len(recorded_s)


class Burst(msgspec.Struct, frozen=True):
    """All at once."""

    def due_times_s(self, recorded_s: Sequence[float | None], seed: int) -> list[float | None]:
        return [0.0] * len(recorded_s)


class ConstantRate(msgspec.Struct, frozen=True):
    """Evenly, so many a second."""

    rate: float

    def due_times_s(self, recorded_s: Sequence[float | None], seed: int) -> list[float | None]:
        return [index / self.rate for index in range(len(recorded_s))]


class RandomRate(msgspec.Struct, frozen=True):
    """Gaps of a gamma distribution with the mean 1/rate.

    A burstiness of 1 is a Poisson process: visitors who know nothing of each other. Below 1 they
    come in swarms, above 1 more evenly.
    """

    rate: float
    burstiness: float = 1.0

    def due_times_s(self, recorded_s: Sequence[float | None], seed: int) -> list[float | None]:
        mean_gap_s = 1 / self.rate
        gaps_s = np.random.default_rng(seed).gamma(
            self.burstiness, mean_gap_s / self.burstiness, len(recorded_s)
        )
        return [*(np.cumsum(gaps_s) - gaps_s[:1]).tolist()]


class Ramp(msgspec.Struct, frozen=True):
    """A Poisson process whose rate goes from one to another, and stays there."""

    begin_rate: float
    end_rate: float
    seconds: float
    is_exponential: bool = False

    def due_times_s(self, recorded_s: Sequence[float | None], seed: int) -> list[float | None]:
        gaps = np.random.default_rng(seed).exponential(1.0, len(recorded_s))
        return [self._time_of(num) for num in (np.cumsum(gaps) - gaps[:1]).tolist()]

    def _time_of(self, num: float) -> float:
        """When so many sessions are to be expected: the integral of the rate, turned round."""
        begin, end, seconds = self.begin_rate, self.end_rate, self.seconds
        growth = math.log(end / begin) if self.is_exponential else 0.0
        mean_rate = (end - begin) / growth if growth else (begin + end) / 2
        num_in_ramp = seconds * mean_rate
        if num >= num_in_ramp:
            return seconds + (num - num_in_ramp) / end
        if growth:
            return seconds / growth * math.log1p(growth * num / (begin * seconds))
        # In this form of the quadratic's root nothing is subtracted that is nearly equal.
        root = math.sqrt(max(0.0, begin**2 + 2 * (end - begin) * num / seconds))
        return 2 * num / (begin + root) if num else 0.0


class Recorded(msgspec.Struct, frozen=True):
    """As a trace says, so many times as fast."""

    speedup: float = 1.0

    def due_times_s(self, recorded_s: Sequence[float | None], seed: int) -> list[float | None]:
        times: list[float | None] = []
        for time_s in recorded_s:
            if time_s is None:
                raise WrongOption("--arrival trace needs times: use it with --workload trace:FILE")
            times.append(time_s / self.speedup)
        return times


def arrival_of(words: str) -> Arrival:
    """From the command line's words. Raises `WrongOption` with what is possible."""
    name, colon, rest = words.strip().lower().partition(":")
    form = _FORMS.get(name)
    if form is None:
        raise WrongOption(f"there is no --arrival {words!r}; possible are {POSSIBLE}")
    try:
        return form(rest.split(",") if colon else [])
    except ValueError as error:
        raise WrongOption(f"--arrival {words!r}: {error}; possible are {POSSIBLE}") from None


def timed(sessions: Sequence[Session], arrival: Arrival, seed: int) -> list[Session]:
    """The sessions with the times at which they are due. Raises `WrongOption`."""
    times = arrival.due_times_s([session.due_s for session in sessions], seed)
    return [
        msgspec.structs.replace(session, due_s=due_s)
        for session, due_s in zip(sessions, times, strict=True)
    ]


def _closed(given: list[str]) -> Arrival:
    _numbers(given, 0)
    return ClosedLoop()


def _burst(given: list[str]) -> Arrival:
    _numbers(given, 0)
    return Burst()


def _constant(given: list[str]) -> Arrival:
    (rate,) = _numbers(given, 1)
    return ConstantRate(rate)


def _poisson(given: list[str]) -> Arrival:
    (rate,) = _numbers(given, 1)
    return RandomRate(rate)


def _gamma(given: list[str]) -> Arrival:
    rate, burstiness = _numbers(given, 2)
    return RandomRate(rate, burstiness)


def _ramp(given: list[str]) -> Arrival:
    is_exponential = given[2:] == ["exponential"]
    if len(given) not in (2, 3) or (len(given) == 3 and not is_exponential):
        raise ValueError("a ramp is FROM-TO,SECONDS and perhaps exponential")
    begin, _, end = given[0].partition("-")
    end_rate, seconds = _numbers([end, given[1]], 2)
    begin_rate = 0.0
    if is_exponential or begin.strip("0.") or not begin:  # from nothing only a straight line grows
        (begin_rate,) = _numbers([begin], 1)
    return Ramp(begin_rate, end_rate, seconds, is_exponential)


def _trace(given: list[str]) -> Arrival:
    return Recorded(*_numbers(given, 1)) if given else Recorded()


def _numbers(given: list[str], num: int) -> list[float]:
    if len(given) != num:
        raise ValueError(f"{num or 'no'} number{'s' * (num != 1)} expected after the name")
    numbers = [float(text) for text in given]
    if not all(0 < number < math.inf for number in numbers):
        raise ValueError("each number must be above 0")
    return numbers


_FORMS: dict[str, Callable[[list[str]], Arrival]] = {
    "closed": _closed,
    "burst": _burst,
    "constant": _constant,
    "poisson": _poisson,
    "gamma": _gamma,
    "ramp": _ramp,
    "trace": _trace,
}
