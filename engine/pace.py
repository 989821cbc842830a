"""`Pace`: how fast waiting requests have started of late, and so when another one can."""

from __future__ import annotations

_SHARE = 1 / 16
"""Of the newest gap in the mean: about the last sixteen starts count."""


class Pace:
    """The mean time between two starts, since the queue was empty for the last time."""

    def __init__(self) -> None:
        self._mean_gap_ns = 0.0
        self._last_start_ns = 0

    def note_start(self, now_ns: int, num_waiting: int) -> None:
        """A request has started, and `num_waiting` still wait."""
        if not num_waiting:
            self._mean_gap_ns, self._last_start_ns = 0.0, 0
            return
        if self._last_start_ns:
            gap_ns = now_ns - self._last_start_ns
            self._mean_gap_ns += (gap_ns - self._mean_gap_ns) * _SHARE
        self._last_start_ns = now_ns

    def expected_start_ns(self, num_waiting: int, now_ns: int) -> int:
        """When a request starts that comes now behind `num_waiting` others. The mean grows from
        nothing, so without experience, or without others, it is now."""
        return now_ns + int(num_waiting * self._mean_gap_ns)
