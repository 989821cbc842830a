"""`Outcome` and `LoadProgress`: what a load has given in the end, and what is known meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from observability.bench.measured import Measured
from observability.bench.run import Lateness


@dataclass(slots=True)
class LoadProgress:
    """Of all workers together, some half a second old; zeros before the begin."""

    num_done: int = 0
    """Requests that have ended, well or not."""
    num_failed: int = 0
    num_running: int = 0
    num_events: int = 0
    """That brought text."""
    elapsed_s: float = 0.0
    """At the last news."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured. Without the warm-up."""

    results: list[Measured]
    """By session and turn."""
    duration_s: float
    """From the begin to the end of the last request."""
    begin_ns: int
    """Time 0 on CLOCK_MONOTONIC: what `time.monotonic_ns` counts."""
    lateness: Lateness
