"""HTTP/1.1 as the load generator speaks it: one stream a connection, counted without parsing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.perf.gateway.connection import Wire, body_of

if TYPE_CHECKING:
    from tests.perf.gateway.cadence import Cadence
    from tests.perf.gateway.token_meter import TokenMeter

_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)


class Http1Connection:
    """Chunk sizes and headers never hold the mark, so they need no parsing."""

    def __init__(self, wire: Wire, meter: TokenMeter, cadence: Cadence) -> None:
        self.num_failed = 0
        self.wire = wire
        self._meter = meter
        self._body = body_of(cadence)
        self._has_status = False

    def begin(self) -> None:
        self.wire.send(_REQUEST % (len(self._body), self._body))

    def take(self, data: bytes, arrival_ns: int) -> None:
        if not self._has_status and data:
            self._has_status = True
            self.num_failed += not data.startswith(b"HTTP/1.1 200")
        if not data:
            self.num_failed = 1
        self._meter.take(self, data, arrival_ns)
