"""HTTP/2 as the load generator speaks it: frames by hand, windows so wide that they never close.

The `h2` library would cost the client more than the server spends.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

import hpack

from tests.perf.gateway.connection import Wire, body_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.perf.gateway.cadence import Cadence
    from tests.perf.gateway.token_meter import TokenMeter

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_MAX_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_HEAD_BYTES = 9

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_OUR_SETTINGS = struct.pack(">HIHI", 2, 0, 4, _MAX_WINDOW)  # no push; a window for each stream
_FIELDS = [
    (":method", "POST"),
    (":path", "/v1/chat/completions"),
    (":scheme", "http"),
    (":authority", "bench"),
    ("accept", "text/event-stream"),
    ("content-type", "application/json"),
]


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


class Http2Connection:
    """Many streams on one connection. `scheme` is "https" behind TLS."""

    def __init__(
        self, wire: Wire, meter: TokenMeter, cadences: Sequence[Cadence], *, scheme: str = "http"
    ) -> None:
        self.num_failed = 0
        self.wire = wire
        self._meter = meter
        self._waiting = [body_of(cadence) for cadence in reversed(cadences)]
        self._num_open = 0
        self._fields = [(name, scheme if name == ":scheme" else value) for name, value in _FIELDS]
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._rest = b""
        self._next_id = 1
        self._window = _DEFAULT_WINDOW
        self._has_settings = False

    def begin(self) -> None:
        self.wire.send(
            _PREFACE
            + frame(_SETTINGS, 0, 0, _OUR_SETTINGS)
            + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _MAX_WINDOW - _DEFAULT_WINDOW))
        )

    def take(self, data: bytes, arrival_ns: int) -> None:
        if not data:
            self.num_failed += self._num_open + len(self._waiting)
            self._num_open = 0
            self._waiting.clear()
            return
        data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _HEAD_BYTES:
            stop = at + _HEAD_BYTES + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if stop > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream_id = int.from_bytes(data[at + 5 : at + _HEAD_BYTES])
            payload = data[at + _HEAD_BYTES : stop]
            if kind == _DATA:
                self._meter.take((self, stream_id), payload, arrival_ns)
                if flags & _END_STREAM:
                    self._fail_one()
            else:
                self._take_other(kind, flags, stream_id, payload)
            at = stop
        self._rest = data[at:]

    def _take_other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == _HEADERS:
            self._take_headers(flags, payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._has_settings = True
            self.wire.send(frame(_SETTINGS, _ACK, 0, b""))
            self._open_streams()
        elif kind == _PING and not flags & _ACK:
            self.wire.send(frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE and stream_id == 0:  # one body never fills a stream's window
            self._window += int.from_bytes(payload)
            self._open_streams()
        elif kind == _RST_STREAM:
            self._fail_one()

    def _take_headers(self, flags: int, payload: bytes) -> None:
        fields = cast("dict[str, str]", dict(self._decoder.decode(payload)))
        is_ok = fields.get(":status") == "200"
        if flags & _END_STREAM or not is_ok:
            self._fail_one()

    def _open_streams(self) -> None:
        """As many as the connection's window lets through."""
        out = bytearray()
        while self._has_settings and self._waiting and len(self._waiting[-1]) <= self._window:
            body = self._waiting.pop()
            fields = self._encoder.encode(self._fields)
            out += frame(_HEADERS, _END_HEADERS, self._next_id, fields)
            out += frame(_DATA, _END_STREAM, self._next_id, body)
            self._window -= len(body)
            self._next_id += 2
            self._num_open += 1
        self.wire.send(bytes(out))

    def _fail_one(self) -> None:
        self.num_failed += 1
        self._num_open -= 1
