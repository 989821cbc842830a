"""The machine: cores, huge pages, open files."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from service.doctor.control_group import cpu_quota
from service.doctor.finding import Finding, note, ok

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A stream is a socket; the rest is for files, the engine's channel and those who are refused.
_WANTED_FILES = 4096


def look_at_machine(root: Path, num_threads: int) -> Iterator[Finding]:
    """Everything of this module; `root` is "/", `num_threads` the setting."""
    yield cores(_num_cores(), cpu_quota(root), num_threads)
    pages = root / "sys/kernel/mm/transparent_hugepage/enabled"
    yield huge_pages(pages.read_text() if pages.exists() else None)
    yield open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))


def cores(num_cores: int, quota: float | None, num_threads: int) -> Finding:
    """What may be used, by the scheduler's mask and by the container's quota."""
    usable = num_cores if quota is None else min(num_cores, quota)
    text = f"{usable:g} usable"
    if quota is not None and quota < num_cores:
        text += f" (of {num_cores}: the container's quota)"
        wanted = max(int(quota), 1)
        if num_threads == 0 or num_threads > wanted:
            return note(
                "cores",
                f"{text}; torch starts a thread for each core and stands still when the quota is up",
                f"--num-threads {wanted}",
            )
    if usable < 2:
        return note("cores", f"{text}; HTTP and the engine share it, and wait for each other")
    if num_threads > usable:
        return note(
            "cores",
            f"{text}, fewer than --num-threads {num_threads}",
            f"--num-threads {int(usable)}, or 0 to let it be chosen",
        )
    return ok("cores", text)


def huge_pages(enabled: str | None) -> Finding:
    """Large weights are read faster through large pages; `enabled` is the kernel's file."""
    subject = "huge pages"
    if enabled is None:
        return ok(subject, "this system has no setting for them")
    if "[always]" in enabled:
        return ok(subject, "always: large weights are read through few page entries")
    if "[madvise]" in enabled:
        return ok(
            subject,
            "for those who ask; THP_MEM_ALLOC_ENABLE=1 makes torch ask, for a model of gigabytes",
        )
    return note(
        subject,
        "never: weights of gigabytes are read through 4 KiB pages, which may be slower",
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled, and set "
        "THP_MEM_ALLOC_ENABLE=1",
    )


def open_files(soft: int, hard: int) -> Finding:
    """Each client's connection takes one."""
    if soft == resource.RLIM_INFINITY or soft >= _WANTED_FILES:
        limit = "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,}"
        return ok("open files", f"{limit}, one for each connection")
    can_raise = hard == resource.RLIM_INFINITY or hard >= _WANTED_FILES
    remedy = "ulimit -n 65536 before the start, or LimitNOFILE=65536 in the systemd unit"
    if can_raise:
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        remedy = f"ulimit -n {wanted} before the start, or LimitNOFILE={wanted} in its systemd unit"
    return note(
        "open files",
        f"{soft:,}, one for each connection: more clients than that are not let in",
        remedy,
    )


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
