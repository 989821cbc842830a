"""`Pool`: the connections of one process to the server, opened when there is no free place."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import anyio

from observability.bench.errors import CannotMeasure
from observability.bench.load.address import Address
from observability.bench.load.connection import Request, RequestFailed
from observability.bench.load.http1_connection import Http1Connection
from observability.bench.load.http2_connection import Http2Connection
from observability.bench.load.wire import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from anyio.abc import TaskGroup

    from observability.bench.load.connection import Answer, Connection
    from observability.bench.plan import Target

_MAX_READ_BYTES = 2**16


class Pool:
    """Places are taken where one became free last, so that few connections are kept warm."""

    def __init__(self, target: Target, path: str, api_key: str | None = None) -> None:
        self._address = Address.of(target.url)
        self._is_h2 = target.protocol == "h2"
        self._path = self._address.prefix + path
        self._headers = [
            ("accept", "*/*"),
            ("user-agent", "kvorum-bench"),
            ("content-type", "application/json"),
        ]
        if api_key:
            if not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
                raise CannotMeasure("the API key has characters that no header can carry")
            self._headers.append(("authorization", f"Bearer {api_key}"))
        self._tls = _tls_context(target) if self._address.is_tls else None
        self._free: dict[Connection, None] = {}
        self._all: set[Connection] = set()
        self._buffer = bytearray(_MAX_READ_BYTES)
        self._opening = anyio.Lock()
        self._tasks: TaskGroup

    async def __aenter__(self) -> Pool:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        for connection in self._all:
            connection.close()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(kind, error, trace)

    @contextlib.asynccontextmanager
    async def ask(self, body: bytes, *, is_fresh: bool = False) -> AsyncIterator[Answer]:
        """A request on its way; at the end of the block its place is free again.

        With `is_fresh` the connection is a new one. Raises `RequestFailed`.
        """
        connection = await self._connection(is_fresh=is_fresh)
        answer = connection.ask(Request(self._path, self._headers, body))
        try:
            await answer.send()
            yield answer
        finally:
            connection.end(answer)
            if not connection.is_open:
                self._all.discard(connection)
            elif connection.num_free > 0:
                self._free[connection] = None

    async def _connection(self, *, is_fresh: bool) -> Connection:
        if not is_fresh and (found := self._find()):
            return found
        if not self._is_h2:
            return await self._open()
        async with self._opening:  # who waits for it may find a place on what it opened
            if not is_fresh and (found := self._find()):
                return found
            connection = await self._open()
            self._free[connection] = None
            return connection

    def _find(self) -> Connection | None:
        while self._free:
            connection, _ = self._free.popitem()
            if num_free := connection.num_free:
                if num_free > 1:
                    self._free[connection] = None
                return connection
            if not connection.is_open:  # the server left it while it was kept
                self._all.discard(connection)
                if isinstance(connection, Http1Connection):
                    connection.close()  # one of HTTP/2 may still carry others to their end
        return None

    async def _open(self) -> Connection:
        wire = await connect(self._address, self._tls, self._buffer)
        authority = self._address.authority
        if not self._is_h2:
            connection = Http1Connection(wire, authority)
            self._all.add(connection)
            return connection
        if self._tls and wire.alpn != "h2":
            wire.close()
            raise RequestFailed("protocol", "the server does not offer HTTP/2")
        many = Http2Connection(wire, authority, is_tls=self._tls is not None)
        self._all.add(many)
        self._tasks.start_soon(many.run)
        try:
            await many.wait_ready()
        except BaseException:
            many.close()
            self._all.discard(many)
            raise
        return many


def _tls_context(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if target.is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if target.protocol == "h2" else "http/1.1"])
    return context
