"""How many frames of a kind a client may send: a token bucket. Pure: time comes in."""

from __future__ import annotations


class FrameBudget:
    """`0 <= left <= burst`; refills at `per_s`."""

    def __init__(self, burst: int, per_s: float, now_s: float) -> None:
        self.left = float(burst)
        self._burst = float(burst)
        self._per_s = per_s
        self._at_s = now_s

    def spend(self, now_s: float) -> bool:
        """Whether there was one left; `now_s` never goes back."""
        self.left = min(self._burst, self.left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True
