"""`SqliteStore`: runs in a file."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from observability.bench.errors import CannotKeep
from observability.bench.store.run_tables import RunTables
from observability.bench.store.schema import SQLITE, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from observability.bench.run import Run
    from observability.bench.store.store import RunHeader

_BUSY_S = 30.0
"""How long another writer is waited for."""


class SqliteStore:
    """A `Store`. `user_version` of the file is the version of its tables."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it with its folder. Raises `CannotKeep`."""
        self._path = path
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are begun and ended here, not by the driver.
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def keep(self, run: Run, figures: Mapping[str, float]) -> str:
        with self._transaction("IMMEDIATE") as tables:
            return tables.keep(run, figures)

    def runs(
        self, *, label: str | None = None, model: str | None = None, limit: int = 50
    ) -> list[RunHeader]:
        with self._transaction("DEFERRED") as tables:
            return tables.runs(label, model, limit)

    def get(self, run_id: str) -> Run:
        with self._transaction("DEFERRED") as tables:
            return tables.get(run_id)

    def delete(self, run_id: str) -> str:
        with self._transaction("IMMEDIATE") as tables:
            return tables.delete(run_id)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA foreign_keys = ON")
        if self._version() == VERSION:
            return
        # Readers do not hold up writers. The file remembers it.
        self._connection.execute("PRAGMA journal_mode = WAL")
        with self._transaction("IMMEDIATE") as tables:
            version = self._version()
            if version > VERSION:
                raise CannotKeep(
                    f"{self._path} was made by a newer kvorum (its tables have version {version}, "
                    f"this one knows {VERSION}); update kvorum or name another file"
                )
            if version == 0 and self._has_tables():
                raise CannotKeep(f"{self._path} holds something else; name another file")
            tables.migrate(version)
            self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def _version(self) -> int:
        (row,) = self._connection.execute("PRAGMA user_version").fetchall()
        return int(row[0])

    def _has_tables(self) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall())

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[RunTables]:
        with self._told():
            self._connection.execute(f"BEGIN {kind}")
            try:
                yield RunTables(self._connection.cursor(), SQLITE)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise CannotKeep(
                f"{self._path} cannot be used: {error}; name another file, or see that its folder "
                "is there, may be written and has room"
            ) from None
