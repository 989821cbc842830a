"""`Tally`: what one process has measured so far, and how late it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observability.bench.measured import Measured


@dataclass(slots=True)
class Tally:
    """Filled by the runs of the sessions; emptied of its results by who passes them on."""

    begin_s: float
    """Time 0 of the run, on `time.monotonic`."""
    results: list[Measured] = field(default_factory=list)
    send_lags_s: list[float] = field(default_factory=list)
    num_done: int = 0
    """Requests that have ended, well or not."""
    num_failed: int = 0
    num_running: int = 0
    num_events: int = 0
    """That brought text."""

    def add(self, measured: Measured) -> None:
        self.results.append(measured)
        self.num_done += 1
        self.num_failed += bool(measured.error)

    def take_results(self) -> list[Measured]:
        """Those that were not taken yet."""
        taken, self.results = self.results, []
        return taken
