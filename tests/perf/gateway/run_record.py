"""A run as it is stored: what was measured, on what, with which versions. No names, no paths."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.perf.gateway.cell import Result

_ROOT = Path(__file__).parents[3]
_PACKAGES = ("hypercorn", "uvicorn", "uvloop", "httptools", "starlette", "h2", "anyio", "msgspec")
MAX_OTHER_CPU = 0.15
"""Of a core, by other processes, in the median of the cells: above it the figures are no good."""


class Machine(msgspec.Struct, frozen=True):
    """What it ran on."""

    cpu: str
    num_cores: int
    memory_gb: float
    system: str
    python: str


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
            commit=_commit(),
            is_quick=is_quick,
            machine=_machine(),
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


def _machine() -> Machine:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return Machine(
        cpu=names[0] if names else platform.machine(),
        num_cores=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = " and uncommitted changes" if git("status", "--porcelain", "--", "*.py") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed
