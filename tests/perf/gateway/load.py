"""Many streams at once from one thread: an epoll loop that does nothing but read and count."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from tests.perf.gateway.connection import Connection, Wire
from tests.perf.gateway.http1_connection import Http1Connection
from tests.perf.gateway.http2_connection import Http2Connection
from tests.perf.gateway.token_meter import TokenMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tests.perf.gateway.cadence import Cadence
    from tests.perf.gateway.server_process import ServerProcess

# A listener's queue is short, and a handshake that finds it full is tried again a second later.
_CONNECTIONS_AT_ONCE = 50
_PAUSE_S = 0.05
_GAP_S = 0.004
_MAX_EVENTS = 2048


class Load:
    """Open streams on a server; closed at the end of the block.

    `lags_ms` are how long bytes had lain in a socket before they were read: the client's lateness.
    """

    def __init__(self, server: ServerProcess, *, is_stamped: bool = False) -> None:
        self.meter = TokenMeter(is_stamped=is_stamped)
        self.lags_ms: list[float] = []
        self._server = server
        self._connections: dict[int, Connection] = {}
        self._num_closed_failed = 0
        self._epoll = select.epoll()

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for connection in self._connections.values():
            connection.wire.close()
        self._epoll.close()

    @property
    def num_begun(self) -> int:
        """Streams that have got a token."""
        return len(self.meter.begun)

    @property
    def num_failed(self) -> int:
        """Streams that did not stay open."""
        return self._num_closed_failed + sum(one.num_failed for one in self._connections.values())

    def open_http1(self, cadences: Sequence[Cadence]) -> None:
        """One connection for each cadence."""
        for index, cadence in enumerate(cadences):
            wire = Wire(self._server.connect())
            self._add(Http1Connection(wire, self.meter, cadence))
            if index % _CONNECTIONS_AT_ONCE == _CONNECTIONS_AT_ONCE - 1:
                self.run_for(_PAUSE_S)

    def open_http2(self, cadences: Sequence[Cadence], num_connections: int) -> None:
        """The streams dealt out to connections like cards."""
        scheme = "https" if self._server.is_tls else "http"
        for number in range(num_connections):
            wire = Wire(self._server.connect(["h2"]))
            dealt = cadences[number::num_connections]
            self._add(Http2Connection(wire, self.meter, dealt, scheme=scheme))

    def run_for(self, seconds: float) -> None:
        """Read for a while."""
        self.run_until(lambda: False, seconds)

    def run_until(self, is_done: Callable[[], bool], max_s: float) -> bool:
        """Read until it is done; False if it is not in time."""
        deadline = time.monotonic() + max_s
        while not is_done():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._read(min(left_s, 0.05))
        return True

    def run_to_gap(self, max_s: float) -> None:
        """Read until nothing comes for a moment, between two steps: then what the server has
        spent and what has arrived belong together."""
        deadline = time.monotonic() + max_s
        while self._read(_GAP_S) and time.monotonic() < deadline:
            pass

    def _add(self, connection: Connection) -> None:
        self._connections[connection.wire.fileno()] = connection
        self._epoll.register(connection.wire.fileno(), select.EPOLLIN)
        connection.begin()

    def _read(self, timeout_s: float) -> int:
        """One round over the sockets that are ready; how many there were."""
        ready = self._epoll.poll(timeout_s, _MAX_EVENTS)
        for fd, _ in ready:
            connection = self._connections[fd]
            wire = connection.wire
            read = wire.read()
            while read is not None:
                data, arrival_ns = read
                self.lags_ms.append((time.monotonic_ns() - arrival_ns) / 1e6)
                connection.take(data, arrival_ns)
                if not data:
                    self._drop(fd)
                    break
                read = wire.read() if wire.may_hold_more else None
            wire.flush()
        return len(ready)

    def _drop(self, fd: int) -> None:
        self._epoll.unregister(fd)
        connection = self._connections.pop(fd)
        self._num_closed_failed += connection.num_failed
        connection.wire.close()
