"""`RunTables`: reads and writes runs through a cursor of either database, inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from observability.bench.errors import CannotKeep
from observability.bench.store import schema
from observability.bench.store.run_rows import (
    number_of,
    number_or_null,
    request_rows,
    run_of,
    run_row,
    sample_rows,
)
from observability.bench.store.store import LAST, RunHeader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from observability.bench.run import Run
    from observability.bench.store.run_rows import Row

_MAX_SHOWN = 5


class Cursor(Protocol):
    """What both drivers have."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> object: ...

    def executemany(self, sql: str, rows: Iterable[Row], /) -> object: ...

    def fetchall(self) -> list[Row]: ...


class RunTables:
    """The tables must be there. Raises `CannotKeep` for what a user asked wrongly; what the driver
    raises goes on to the caller."""

    def __init__(self, cursor: Cursor, dialect: schema.Dialect) -> None:
        self._cursor = cursor
        self._dialect = dialect

    def migrate(self, version: int) -> None:
        """From `version` to the present one; 0 is an empty database."""
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                self._cursor.execute(self._dialect.sql(statement))

    def keep(self, run: Run, figures: Mapping[str, float]) -> str:
        """As `Store.keep`."""
        if self._rows("SELECT id FROM runs WHERE id = ?", run.id):
            raise CannotKeep(f"a run {run.id} is kept already; delete it first")
        self._insert("runs", schema.RUN_COLUMNS, [run_row(run)])
        self._insert(
            "run_figures",
            ("run_id", "name", "value"),
            ((run.id, name, number_or_null(value)) for name, value in figures.items()),
        )
        self._insert(
            "requests",
            ("run_id", "number", "first_s", *schema.REQUEST_COLUMNS),
            request_rows(run),
        )
        self._insert("samples", ("run_id", "number", "at_s", "name", "value"), sample_rows(run))
        return run.id

    def runs(self, label: str | None, model: str | None, limit: int) -> list[RunHeader]:
        """As `Store.runs`."""
        wanted = {"label": label, "model": model}
        conditions = [f"{column} = ?" for column, value in wanted.items() if value is not None]
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        heads = self._rows(
            f"SELECT {', '.join(schema.HEADER_COLUMNS)} FROM runs {where}"
            "ORDER BY begun_s DESC, id DESC LIMIT ?",
            *(value for value in wanted.values() if value is not None),
            limit,
        )
        return [
            RunHeader(
                **dict(zip(schema.HEADER_COLUMNS, head, strict=True)),
                figures=self._figures(head[0]),
            )
            for head in heads
        ]

    def get(self, run_id: str) -> Run:
        """As `Store.get`."""
        whole_id = self._whole_id(run_id)
        (whole,) = self._rows(f"SELECT {self._whole_columns()} FROM runs WHERE id = ?", whole_id)
        results = self._rows(
            f"SELECT {', '.join(schema.REQUEST_COLUMNS)} FROM requests "
            "WHERE run_id = ? ORDER BY number",
            whole_id,
        )
        samples = self._rows(
            "SELECT at_s, name, value FROM samples WHERE run_id = ? ORDER BY number", whole_id
        )
        return run_of(whole, results, samples)

    def delete(self, run_id: str) -> str:
        """As `Store.delete`."""
        whole_id = self._whole_id(run_id)
        self._cursor.execute(self._dialect.sql("DELETE FROM runs WHERE id = ?"), (whole_id,))
        return whole_id

    def _whole_id(self, run_id: str) -> str:
        if run_id == LAST:
            last = self._rows("SELECT id FROM runs ORDER BY begun_s DESC, id DESC LIMIT 1")
            if not last:
                raise CannotKeep("no run is kept yet; measure one with `kvorum bench serve`")
            return str(last[0][0])
        found = self._rows(
            "SELECT id FROM runs WHERE substr(id, 1, ?) = ? ORDER BY id LIMIT ?",
            len(run_id),
            run_id,
            _MAX_SHOWN + 1,
        )
        ids = [str(row[0]) for row in found]
        if run_id in ids:
            return run_id
        if not ids or not run_id:
            raise CannotKeep(f"no run {run_id!r} is kept; see `kvorum bench list`")
        if len(ids) > 1:
            more = ", ..." if len(ids) > _MAX_SHOWN else ""
            raise CannotKeep(
                f"{run_id!r} may be any of {', '.join(ids[:_MAX_SHOWN])}{more}; say more of it"
            )
        return ids[0]

    def _whole_columns(self) -> str:
        # As text: a driver would make objects of PostgreSQL's JSON.
        texts = {"plan", "machine", "versions", "lateness"}
        return ", ".join(
            f"CAST({column} AS TEXT)" if column in texts else column
            for column in schema.WHOLE_COLUMNS
        )

    def _figures(self, run_id: str) -> dict[str, float]:
        rows = self._rows("SELECT name, value FROM run_figures WHERE run_id = ?", run_id)
        return {name: number_of(value) for name, value in rows}

    def _rows(self, sql: str, *parameters: object) -> list[Row]:
        self._cursor.execute(self._dialect.sql(sql), parameters)
        return self._cursor.fetchall()

    def _insert(self, table: str, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
        self._cursor.executemany(self._dialect.sql(schema.insert(table, columns)), rows)
