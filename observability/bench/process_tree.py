"""`ProcessTree`: CPU time and memory of a process and all that it has started (Linux, /proc)."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import msgspec

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PERIOD_S = 0.05


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Of all processes of a tree together, at one moment."""

    num_processes: int
    cpu_s: float
    """User and system time since their begin, those included that have ended and were waited for."""
    rss_bytes: int
    """Resident, what is shared counted once for each."""
    pss_bytes: int
    """Resident, what is shared divided among those that share it; 0 if the system does not tell."""


class ProcessTree:
    """Keeps what was the most. CPU time is counted in hundredths of a second."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_rss_bytes = 0
        self.peak_pss_bytes = 0

    def use(self) -> Use:
        """Now. All zeros if the process is gone."""
        ticks = rss_pages = pss_kb = 0
        pids = self._pids()
        for pid in pids:
            fields = _stat(pid)
            if fields is not None:
                # From the third on (proc(5)): 14-17 are its own times and its dead children's.
                ticks += sum(int(text) for text in fields[11:15])
                rss_pages += int(fields[21])
                pss_kb += _pss_kb(pid)
        use = Use(
            num_processes=len(pids),
            cpu_s=ticks / _TICKS_PER_S,
            rss_bytes=rss_pages * _PAGE_BYTES,
            pss_bytes=pss_kb * 1024,
        )
        self.peak_rss_bytes = max(self.peak_rss_bytes, use.rss_bytes)
        self.peak_pss_bytes = max(self.peak_pss_bytes, use.pss_bytes)
        return use

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.use()
            await anyio.sleep(_PERIOD_S)

    def _pids(self) -> list[int]:
        """Those that run, the process itself first."""
        children: dict[int, list[int]] = {}
        for folder in _PROC.iterdir():
            if folder.name.isdecimal():
                fields = _stat(int(folder.name))
                if fields is not None and fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(folder.name))
        found = [self.pid] if _stat(self.pid) else []
        for pid in found:  # grows meanwhile
            found += children.get(pid, [])
        return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on, the state; None if it is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _pss_kb(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
