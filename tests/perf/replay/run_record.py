"""Replays as they are stored: the figures, and what they were made on. No paths."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from observability.bench.machine import machine_here
from observability.bench.run import Machine
from observability.bench.versions import commit
from tests.perf.replay.replay import ReplayResult


class ReplayRecord(msgspec.Struct, kw_only=True):
    """Everything that a page about the replays needs."""

    date: str
    commit: str
    machine: Machine
    results: list[ReplayResult] = []

    @classmethod
    def begin(cls) -> ReplayRecord:
        """A record without results."""
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return cls(date=date, commit=commit() or "unknown", machine=machine_here())

    @property
    def wall_s(self) -> float:
        return sum(result.wall_s for result in self.results)

    def why_not_publishable(self) -> str:
        """ "" if its figures may stand in the documentation."""
        if not any(one.has_content and one.is_unbounded for one in self.results):
            return "it has no trace with content and a cache without bound"
        unfinished = [one for one in self.results if one.num_finished != one.num_requests]
        return "not every request has finished" if unfinished else ""
