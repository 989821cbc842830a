"""`Scale`: from values to places on an axis, with the ticks that a reader wants. Pure."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

_TAILS = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """`tail` is for shares from 0 to below 1: each further nine takes as much room as the one
    before, so that one sees what the slowest few got."""

    kind: Literal["linear", "tail"] = "linear"
    low: float
    high: float
    ticks: list[tuple[float, str]]
    """Values and how they are written."""

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end, never outside."""
        if self.kind == "tail":
            share = math.log10(1 - min(value, self.high)) / math.log10(1 - self.high)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)


def linear_scale(low: float, high: float, num_ticks: int = 5) -> Scale:
    """From a round number at or below `low` to one at or above `high`."""
    if not (math.isfinite(low) and math.isfinite(high)) or max(abs(low), abs(high)) > 1e15:
        low, high = 0.0, 1.0
    if high - low < 1e-9 * max(abs(high), abs(low), 1e-3):
        high = low + max(abs(low), 1.0)
    step = _round_step((high - low) / num_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [(index * step, tick_text(index * step, step)) for index in range(first, last + 1)]
    return Scale(low=first * step, high=last * step, ticks=ticks)


def exact_scale(low: float, high: float, num_ticks: int = 5) -> Scale:
    """From `low` to `high` themselves, with round ticks between them: for time."""
    rounded = linear_scale(low, high, num_ticks)
    if high <= low:
        return rounded
    ticks = [tick for tick in rounded.ticks if low <= tick[0] <= high]
    return Scale(low=low, high=high, ticks=ticks)


def tail_scale(num_values: int) -> Scale:
    """As far as so many values tell something."""
    high = 1 - 1 / max(num_values, 10)
    ticks = [(tail, f"p{tail * 100:g}") for tail in _TAILS if tail <= high + 1e-12]
    # Of many values the first half takes so little room that p50 would find none.
    begin = [(0.0, "min")] if high < 0.999 else []
    return Scale(kind="tail", low=0.0, high=high, ticks=[*begin, *ticks])


def tail_shares(num_values: int, num_points: int) -> list[float]:
    """The shares at which a curve on `tail_scale` is drawn: the same distance from each other."""
    base = 1 - tail_scale(num_values).high
    return [1 - base ** (index / (num_points - 1)) for index in range(num_points)]


def tick_text(value: float, step: float) -> str:
    """With as many places as tell two ticks apart."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor and step >= factor / 10:
            return f"{value / factor:g}{letter}"
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{places}f}"


def number_text(value: float) -> str:
    """Three digits and more, thousands apart: for people."""
    size = abs(value)
    if not math.isfinite(value):
        return "–"
    if size >= 1e9:
        return f"{value:.3g}"
    if size >= 100 or value == 0:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.1f}" if size >= 10 else f"{value:.3g}" if size < 1 else f"{value:.2f}"


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * 0.999)
