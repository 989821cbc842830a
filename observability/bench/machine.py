"""What a `Machine` is made of, as this one tells it. No name of a host or a user, no path."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from observability.bench.run import Machine

_SMI = "nvidia-smi"
_TIMEOUT_S = 20.0


def machine_here() -> Machine:
    """Blocks: for a second or more if there are GPUs."""
    return Machine(
        cpu=_cpu(),
        num_cores=_num_cores(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
        gpus=_gpus(),
    )


def gpus_of(table: str) -> list[str]:
    """From lines "name, MiB of memory, driver" of nvidia-smi: what a reader wants to know of each."""
    rows = [[cell.strip() for cell in line.split(",")] for line in table.splitlines()]
    return [
        f"{name}, {int(memory) / 1024:.0f} GiB, driver {driver}"
        for name, memory, driver in (row for row in rows if len(row) == 3)
        if memory.isdecimal()
    ]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # Linux only.
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> list[str]:
    command = [_SMI, "--query-gpu=name,memory.total,driver_version"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return gpus_of(done.stdout) if done.returncode == 0 else []
