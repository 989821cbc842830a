"""`Store`: where runs are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from observability.bench.run import Run

LAST = "last"
"""In place of an id: the run that was begun last."""


class RunHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of a run."""

    id: str
    label: str
    begun_at: str
    server: str
    model: str
    workload: str
    arrival: str
    num_requests: int
    num_failed: int
    duration_s: float
    figures: dict[str, float]


class Store(Protocol):
    """Every method is one transaction and raises `CannotKeep`, with what to do, if it fails.

    Any number of processes may use one database; a store is used by one thread at a time. `run_id`
    is an id, the begin of one that no other has, or "last".
    """

    def keep(self, run: Run, figures: Mapping[str, float]) -> str:
        """Add it; gives its id. There must be none of this id."""
        ...

    def runs(
        self, *, label: str | None = None, model: str | None = None, limit: int = 50
    ) -> list[RunHeader]:
        """The newest first."""
        ...

    def get(self, run_id: str) -> Run:
        """With everything, as it was kept."""
        ...

    def delete(self, run_id: str) -> str:
        """Gives its whole id."""
        ...

    def close(self) -> None:
        """May be called again; nothing else may be called after it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
