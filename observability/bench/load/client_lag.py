"""`ClientLag`: how late the event loop of a process is, seen by a timer that does nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from observability.bench.run import Lateness

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICK_S = 0.01


class ClientLag:
    """From its making on, or the begin if that is later. CPU time is of the whole process."""

    def __init__(self, begin_s: float) -> None:
        self._begin_s = begin_s
        self._begin_cpu_s = time.process_time()
        self._loop_lags_s: list[float] = []

    async def watch(self) -> None:
        """For ever: cancel it."""
        due_s = max(self._begin_s, time.monotonic())
        while True:
            await anyio.sleep(max(0.0, due_s - time.monotonic()))
            now_s = time.monotonic()
            self._loop_lags_s.append(max(0.0, now_s - due_s))
            due_s = max(due_s, now_s) + _TICK_S

    def lateness(self, send_lags_s: Sequence[float]) -> Lateness:
        """Up to now."""
        duration_s = max(time.monotonic() - self._begin_s, 1e-3)
        return Lateness(
            loop_p99_ms=quantile(self._loop_lags_s, 0.99) * 1e3,
            loop_max_ms=max(self._loop_lags_s, default=0.0) * 1e3,
            send_p99_ms=quantile(send_lags_s, 0.99) * 1e3,
            cpu_share=(time.process_time() - self._begin_cpu_s) / duration_s,
        )


def worst_of(latenesses: Sequence[Lateness]) -> Lateness:
    """Each figure of the process that has the worst: no less than that of all together."""
    return Lateness(
        **{
            name: max((getattr(one, name) for one in latenesses), default=0.0)
            for name in Lateness.__struct_fields__
        }
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
