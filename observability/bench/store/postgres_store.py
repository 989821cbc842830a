"""`PostgresStore`: runs in a PostgreSQL database, by psycopg 3, which is an optional package."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TypeVar

from observability.bench.errors import CannotKeep

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError:
    raise CannotKeep(
        'PostgreSQL takes the package psycopg: pip install "kvorum[postgres]"'
    ) from None

from observability.bench.store.run_tables import RunTables
from observability.bench.store.schema import POSTGRES, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from observability.bench.run import Run
    from observability.bench.store.store import RunHeader

_T = TypeVar("_T")
_DEFAULTS = "connect_timeout=10 application_name='kvorum bench'"
"""An address may say otherwise."""
_LOCK = 0x6B766F72
"""Held while tables are made: two that begin at once would both make them."""


class PostgresStore:
    """A `Store`. The tables are in the first schema of the search path; `bench_schema` holds their
    version. A connection that the server has dropped meanwhile is made anew, once for a call."""

    def __init__(self, url: str) -> None:
        """Connects, and makes the tables if there are none. Raises `CannotKeep`."""
        parts = _parts_of(url)
        self._where, self._secret = _where(parts), parts.get("password", "")
        self._conninfo = make_conninfo(_DEFAULTS, **parts)
        self._connection = self._connect()
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def keep(self, run: Run, figures: Mapping[str, float]) -> str:
        return self._do(lambda tables: tables.keep(run, figures))

    def runs(
        self, *, label: str | None = None, model: str | None = None, limit: int = 50
    ) -> list[RunHeader]:
        return self._do(lambda tables: tables.runs(label, model, limit))

    def get(self, run_id: str) -> Run:
        return self._do(lambda tables: tables.get(run_id))

    def delete(self, run_id: str) -> str:
        return self._do(lambda tables: tables.delete(run_id))

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

    def _do(self, act: Callable[[RunTables], _T]) -> _T:
        with self._told():
            try:
                return self._transact(act)
            except psycopg.OperationalError:
                if not self._connection.broken:
                    raise
            self._connection.close()
            self._connection = self._connect()
            return self._transact(act)

    def _transact(self, act: Callable[[RunTables], _T]) -> _T:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            # What one call reads is of one moment.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return act(RunTables(cursor, POSTGRES))

    def _prepare(self) -> None:
        if self._version() == VERSION:
            return
        # Before the transaction: one that is begun earlier may not see tables made meanwhile. It
        # is given up with the connection, too.
        self._connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        with self._connection.transaction(), self._connection.cursor() as cursor:
            version = self._version()
            if version > VERSION:
                raise CannotKeep(
                    f"the tables in {self._where} were made by a newer kvorum (version {version}, "
                    f"this one knows {VERSION}); update kvorum or name another database"
                )
            RunTables(cursor, POSTGRES).migrate(version)
            if version == 0:
                cursor.execute("CREATE TABLE bench_schema (version INTEGER NOT NULL)")
                cursor.execute("INSERT INTO bench_schema VALUES (%s)", (VERSION,))
            else:
                cursor.execute("UPDATE bench_schema SET version = %s", (VERSION,))
        self._connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))

    def _version(self) -> int:
        found = self._connection.execute("SELECT to_regclass('bench_schema')").fetchone()
        if found is None or found[0] is None:
            return 0
        row = self._connection.execute("SELECT version FROM bench_schema").fetchone()
        return 0 if row is None else int(row[0])

    def _connect(self) -> psycopg.Connection:
        with self._told():
            return psycopg.connect(self._conninfo, autocommit=True, client_encoding="UTF8")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = " ".join(str(error).split())
            if self._secret:
                said = said.replace(self._secret, "***")
            raise CannotKeep(
                f"{self._where} cannot be used: {said}; see that the server runs, and that the user "
                "may make tables and write in this database"
            ) from None


def _parts_of(url: str) -> dict[str, str]:
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value}
    except psycopg.Error:
        parts = {"port": "none"}  # The driver's text may show a part of the password.
    # A password with a slash or an @ ends up in the port and the host.
    ports = parts.get("port", "0").split(",")
    if "@" in parts.get("host", "") or not all(port.isdecimal() for port in ports):
        raise CannotKeep(
            "the address of the database is none; it looks like "
            "postgresql://user:password@host:5432/database, odd characters of a password as %XX"
        )
    return parts


def _where(parts: Mapping[str, str]) -> str:
    where = f"PostgreSQL at {parts.get('host', 'this machine')}"
    if port := parts.get("port"):
        where += f":{port}"
    if name := parts.get("dbname"):
        where += f", database {name}"
    return where
