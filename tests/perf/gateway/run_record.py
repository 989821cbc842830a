"""A run as it is stored: what was measured, on what, with which versions. No names, no paths."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec

from observability.bench.machine import machine_here
from observability.bench.run import Machine
from observability.bench.versions import commit
from tests.perf.gateway.cell import Result

_PACKAGES = ("hypercorn", "uvicorn", "uvloop", "httptools", "starlette", "h2", "anyio", "msgspec")
MAX_OTHER_CPU = 0.15
"""Of a core, by other processes, in the median of the cells: above it the figures are no good."""


class RunRecord(msgspec.Struct, kw_only=True):
    """Everything that a page about the run needs."""

    date: str
    commit: str
    is_quick: bool
    machine: Machine
    versions: dict[str, str]
    load_average_before: float
    duration_s: float = 0.0
    results: list[Result] = []

    @classmethod
    def begin(cls, *, is_quick: bool) -> RunRecord:
        """A record without results."""
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            commit=commit() or "unknown",
            is_quick=is_quick,
            machine=machine_here(),
            versions={name: version(name) for name in _PACKAGES},
            load_average_before=os.getloadavg()[0],
        )

    @property
    def other_cpu(self) -> float:
        """What other processes took while it measured: the median of the cells, in cores."""
        shares = sorted(
            one.other_cpu for one in self.results if one.window_s and one.cell.server != "none"
        )
        return shares[len(shares) // 2] if shares else 0.0

    def why_not_publishable(self) -> str:
        """ "" if its figures may stand in the documentation."""
        if self.is_quick:
            return "a quick run shows that everything works, not how fast"
        if self.other_cpu > MAX_OTHER_CPU:
            return f"other processes took {self.other_cpu:.0%} of a core meanwhile"
        return ""
