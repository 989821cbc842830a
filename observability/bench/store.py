"""`Store`: where runs are kept, and `open_store`, which finds the right one for an address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from observability.bench.errors import CannotKeep

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


def open_store(address: str) -> Store:
    """The database at a path, `sqlite:///path` or `postgresql://...`, made on first use.

    After `sqlite:///` stands a relative path, or after one more slash an absolute one. Raises
    `CannotKeep`.
    """
    scheme, mark, rest = address.partition("://")
    if scheme in {"postgresql", "postgres"} and mark:
        from observability.bench.postgres_store import PostgresStore

        return PostgresStore(address)
    if mark and scheme != "sqlite":
        raise CannotKeep(
            f"results cannot be kept at {scheme[:20]}://; name a file, sqlite:///file or "
            "postgresql://user:password@host/database"
        )
    path = rest.removeprefix("/") if mark else address
    if not path or (mark and not rest.startswith("/")):
        raise CannotKeep(
            "the database has no file name; it looks like results.sqlite or sqlite:///results.sqlite"
        )
    from observability.bench.sqlite_store import SqliteStore

    return SqliteStore(Path(path))
