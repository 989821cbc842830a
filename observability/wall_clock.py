"""Turns monotonic times into dates, through one pair of readings taken at start."""

import msgspec


class WallClock(msgspec.Struct, frozen=True):
    """One moment read on both clocks.

    A single pair keeps all spans of a trace in order, whatever NTP does to the wall clock; the
    price is that dates drift with the machine's quartz, some milliseconds a day.
    """

    wall_ns: int
    monotonic_ns: int

    def at(self, monotonic_ns: int) -> int:
        """Unix time in nanoseconds of a monotonic reading."""
        return self.wall_ns + monotonic_ns - self.monotonic_ns
