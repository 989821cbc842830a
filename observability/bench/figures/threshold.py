"""`Threshold`: a change or a value at which a comparison fails, for a machine to decide by.

`p99_ttft>+10%` fails if B's is more than 10 % above A's, and the difference is seen; `p99_ttft>300`
if B's median is above 300, whatever A's is. A figure that is not known fails too: a gate that
opens because nothing was measured is none.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Literal

import msgspec

from observability.bench.errors import WrongOption
from observability.bench.figures.figure import figure_named

if TYPE_CHECKING:
    from observability.bench.figures.difference import Difference

POSSIBLE = "FIGURE>+N% or FIGURE<-N% of a change, FIGURE>N or FIGURE<N of a value"
_FORM = re.compile(
    r"\s*(?P<name>[\w-]+)\s*(?P<side>[<>])\s*(?P<sign>[+-]?)(?P<number>\d+(?:\.\d+)?)\s*(?P<percent>%?)\s*"
)


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """`text` says the numbers and why, for the user."""

    is_failed: bool
    text: str


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """`limit` is a share of change (0.1 is +10 %) if `is_relative`, else a value of the figure."""

    words: str
    name: str
    side: Literal["<", ">"]
    limit: float
    is_relative: bool

    @classmethod
    def of(cls, words: str) -> Threshold:
        """Raises `WrongOption`."""
        match = _FORM.fullmatch(words)
        if match is None:
            raise WrongOption(f"--fail-if {words!r} is none; possible are {POSSIBLE}")
        sign, is_relative = match["sign"], bool(match["percent"])
        if is_relative != bool(sign):
            number = match["number"]
            raise WrongOption(
                f"--fail-if {words!r} may be a change or a value: write +{number}% or -{number}% "
                f"for a change, {number} for a value"
            )
        limit = float(f"{sign}{match['number']}") / (100 if is_relative else 1)
        return cls(
            words=words.strip(),
            name=figure_named(match["name"]),
            side="<" if match["side"] == "<" else ">",
            limit=limit,
            is_relative=is_relative,
        )

    def judge(self, difference: Difference | None) -> Judgement:
        """Of the figure `name`; None if a comparison has none of it."""
        a, b = (difference.a, difference.b) if difference else (None, None)
        if not self.is_relative:
            return self.judge_value(b, "B")
        if difference is None or a is None or b is None:
            where = "B" if b is None else "A"
            return self._judgement(
                True, f"not every run of {where} tells it; measure more requests"
            )
        change = _change(a, b, difference.ratio)
        text = f"{a:.4g} in A, {b:.4g} in B, {change:+.1%}{_sureness(difference)}"
        if not self._is_beyond(change):
            return self._judgement(False, f"{text}: within")
        if not difference.is_seen:
            return self._judgement(False, f"{text}: beyond, but it may be chance; measure more")
        return self._judgement(True, f"{text}: beyond, and seen")

    def judge_value(self, value: float | None, where: str = "the run") -> Judgement:
        """Of the figure itself, for a threshold that is not of a change."""
        if value is None:
            return self._judgement(True, f"{where} does not tell it; measure more requests")
        is_beyond = self._is_beyond(value)
        within = "" if is_beyond else ", within"
        return self._judgement(is_beyond, f"it is {value:.4g} in {where}{within}")

    def _is_beyond(self, value: float) -> bool:
        return value > self.limit if self.side == ">" else value < self.limit

    def _judgement(self, is_failed: bool, text: str) -> Judgement:
        word = "FAILED" if is_failed else "passed"
        return Judgement(is_failed=is_failed, text=f"{word}  {self.words}: {text}")


def thresholds_of(words: str) -> list[Threshold]:
    """Several with commas between them; each is one to pass. Raises `WrongOption`."""
    return [Threshold.of(part) for part in words.split(",")]


def _change(a: float, b: float, ratio: float | None) -> float:
    if ratio is not None:
        return ratio - 1
    if a:
        return (b - a) / abs(a)
    return math.copysign(math.inf, b) if b else 0.0


def _sureness(difference: Difference) -> str:
    parts = []
    interval = difference.interval
    if interval is not None and interval.low is not None and interval.high is not None:
        parts.append(f"95 % between {interval.low - 1:+.1%} and {interval.high - 1:+.1%}")
    if difference.p_value is not None:
        parts.append(f"p {difference.p_value:.2g}")
    return f" ({', '.join(parts)})" if parts else ""
