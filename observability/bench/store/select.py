"""`open_store`: the store of an address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from observability.bench.errors import CannotKeep
from observability.bench.store.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from observability.bench.store.store import Store


def open_store(address: str) -> Store:
    """The database at a path, `sqlite:///path` or `postgresql://...`, made on first use.

    After `sqlite:///` stands a relative path, or after one more slash an absolute one. Raises
    `CannotKeep`.
    """
    scheme, mark, rest = address.partition("://")
    if scheme in {"postgresql", "postgres"} and mark:
        from observability.bench.store.postgres_store import PostgresStore

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
    return SqliteStore(Path(path))
