"""`ProcessTree`: CPU time and memory of a process and all that it has started (Linux, /proc).

A process that was given to another parent, since its own ended, is no longer of the tree.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PERIOD_S = 0.05
_NUM_PERIODS_WHOLE = 10
"""Between two whole looks: one takes 25 ms of CPU beside a server of two processes with torch, 20
of them in the kernel for what is shared; the resident pages of known processes take 0.1 ms."""


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
        return self._keep(self._look(self._pids(), is_whole=True))

    def cpu_s(self) -> float:
        """As in `Use`, without the memory, which takes longer."""
        return self._look(self._pids(), is_whole=False).cpu_s

    async def watch(self) -> None:
        """Look again and again, until cancelled: RSS every 50 ms, every 500 ms also PSS and whether
        there are other processes."""
        while True:
            # In threads: what else runs in the loop takes times.
            pids = await anyio.to_thread.run_sync(self._pids)
            self._keep(await anyio.to_thread.run_sync(partial(self._look, pids, is_whole=True)))
            for _ in range(_NUM_PERIODS_WHOLE):
                await anyio.sleep(_PERIOD_S)
                self._keep(self._look(pids, is_whole=False))

    def _look(self, pids: list[int], *, is_whole: bool) -> Use:
        """PSS only if it is whole."""
        ticks = rss_pages = pss_kb = 0
        for pid in pids:
            fields = _stat(pid)
            if fields is not None:
                # From the third on (proc(5)): 14-17 are its own times and its dead children's.
                ticks += sum(int(text) for text in fields[11:15])
                rss_pages += int(fields[21])
                pss_kb += _pss_kb(pid) if is_whole else 0
        return Use(
            num_processes=len(pids),
            cpu_s=ticks / _TICKS_PER_S,
            rss_bytes=rss_pages * _PAGE_BYTES,
            pss_bytes=pss_kb * 1024,
        )

    def _keep(self, use: Use) -> Use:
        self.peak_rss_bytes = max(self.peak_rss_bytes, use.rss_bytes)
        self.peak_pss_bytes = max(self.peak_pss_bytes, use.pss_bytes)
        return use

    def _pids(self) -> list[int]:
        """Those that run, the process itself first."""
        children: dict[int, list[int]] = {}
        for pid in _all_pids():
            fields = _stat(pid)
            if fields is not None and fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(pid)
        found = [self.pid] if _stat(self.pid) else []
        for pid in found:  # grows meanwhile
            found += children.get(pid, [])
        return found


def pids_of_session(session: int) -> list[int]:
    """Those that run, whoever their parents are now. None where there is no /proc."""
    found = []
    for pid in _all_pids():
        fields = _stat(pid)
        if fields is not None and fields[0] != "Z" and int(fields[3]) == session:
            found.append(pid)
    return found


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_PROC) if name.isdecimal()]
    except OSError:
        return []


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on, the state; None if it is gone."""
    try:
        with open(f"{_PROC}/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def _pss_kb(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
