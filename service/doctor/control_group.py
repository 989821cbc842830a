"""What a container may use: the bounds of its control groups, version 2 or 1 (`root` is "/")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Version 1 writes a number near 2**63 for "no bound".
_UNBOUNDED_BYTES = 2**60


def cpu_quota(root: Path) -> float | None:
    """Cores' worth of time, or None if nothing bounds it."""
    quotas = [quota for folder in _folders(root, "cpu") if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def memory_room(root: Path) -> int | None:
    """Bytes that may still be used before the kernel ends a process, or None without a bound."""
    rooms = [room for folder in _folders(root, "memory") if (room := _room(folder)) is not None]
    return min(rooms, default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The process's groups and those around them, whose bounds hold too."""
    base = root / "sys/fs/cgroup"
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0":
            top = base
        elif controller in names.split(","):
            top = base / controller
        else:
            continue
        inner = top / path.strip("/")
        yield from (inner, *(outer for outer in inner.parents if outer.is_relative_to(top)))


def _quota(folder: Path) -> float | None:
    text = _read(folder / "cpu.max")
    if text is None:
        text = " ".join(
            _read(folder / name) or "" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
    numbers = text.split()
    if len(numbers) != 2 or not numbers[0].isdigit():  # "max", or -1
        return None
    return int(numbers[0]) / int(numbers[1])


def _room(folder: Path) -> int | None:
    bound = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
    used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
    if bound is None or used is None or not bound.isdigit() or int(bound) > _UNBOUNDED_BYTES:
        return None
    return max(int(bound) - int(used) + _reclaimable(folder), 0)


def _reclaimable(folder: Path) -> int:
    """Read files that are kept in memory until somebody needs it."""
    for line in (_read(folder / "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
