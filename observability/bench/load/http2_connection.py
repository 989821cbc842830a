"""`Http2Connection`: many requests at once, with h2, by prior knowledge or after ALPN.

One task reads for all streams and one writes, so that a request that is given up takes no bytes of
the others with it. Windows for what is received are as wide as can be and opened again in one go.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from h2.settings import SettingCodes, Settings

from observability.bench.load.connection import Head, RequestFailed

if TYPE_CHECKING:
    from observability.bench.load.connection import Answer, Request
    from observability.bench.load.wire import Wire

MAX_STREAMS = 100
"""Of a connection, if the server allows more."""
_MAX_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_CREDIT_BYTES = 2**26
_SETTINGS = b"\x04"
"""The type of the first frame of a server."""


class _NoHttp2(h2.exceptions.ProtocolError):
    pass


class Http2Answer:
    """Its connection pushes into it; one request waits on it."""

    def __init__(self, connection: Http2Connection, request: Request, stream_id: int) -> None:
        self.is_whole = False
        self.stream_id = stream_id
        self.request = request
        self.begin: Head | None = None
        self._connection = connection
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._is_ended = False
        self._end_s = 0.0
        self._failure: RequestFailed | None = None
        self._news: anyio.Event | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more will come from the server."""
        return self._is_ended or self._failure is not None

    def push(self, at_s: float, data: bytes) -> None:
        self._pieces.append((at_s, data))
        if self._news is not None:
            self.wake()

    def finish(self, at_s: float) -> None:
        self._end_s, self._is_ended = at_s, True
        self.wake()

    def fail(self, kind: str, detail: str, *, is_unseen: bool = False) -> None:
        """What has come is still read first."""
        if not self.is_over:
            kind = "cut" if kind == "connection" and self.begin else kind
            self._failure = RequestFailed(kind, detail, is_unseen=is_unseen and not self.begin)
        self.wake()

    def wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def wait(self) -> None:
        """For anything that may concern it. Raises `RequestFailed` if nothing will come."""
        if self._failure is not None:
            raise self._failure
        self._news = anyio.Event()
        await self._news.wait()

    async def send(self) -> None:
        await self._connection.send_body(self)

    async def head(self) -> Head:
        while self.begin is None:
            if self._is_ended:
                raise RequestFailed("protocol", "a stream without a status")
            await self.wait()
        return self.begin

    async def receive(self) -> tuple[float, bytes]:
        while not self._pieces:
            if self._is_ended:
                self.is_whole = True
                return self._end_s, b""
            await self.wait()
        piece = self._pieces.popleft()
        self.is_whole = self._is_ended and not self._pieces
        return piece


class Http2Connection:
    """Answers are found by the number of their stream."""

    def __init__(self, wire: Wire, authority: str, *, is_tls: bool) -> None:
        self._wire = wire
        self._pseudo_headers = [
            (":method", "POST"),
            (":scheme", "https" if is_tls else "http"),
            (":authority", authority),
        ]
        self._h2 = _new_h2()
        self._answers: dict[int, Http2Answer] = {}
        self.is_open = True
        self._failure: RequestFailed | None = None
        self._num_asked = 0
        self._ready = anyio.Event()
        self._credit_bytes = 0
        self._unsent: list[bytes] = [self._h2.data_to_send()]
        self._to_write = anyio.Event()

    @property
    def num_free(self) -> int:
        if not self.is_open:
            return 0
        limit = min(MAX_STREAMS, self._h2.remote_settings.max_concurrent_streams)
        return max(0, limit - len(self._answers))

    async def wait_ready(self) -> None:
        """Until the server has said its limits. Raises `RequestFailed`."""
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure
        if self.num_free == 0:
            raise RequestFailed("connection", "the server takes no stream of HTTP/2")

    def ask(self, request: Request) -> Answer:
        stream_id = self._h2.get_next_available_stream_id()
        headers = [*self._pseudo_headers, (":path", request.path), *request.headers]
        self._h2.send_headers(stream_id, headers)
        answer = Http2Answer(self, request, stream_id)
        self._answers[stream_id] = answer
        self._num_asked += 1
        self._write_soon()
        return answer

    async def send_body(self, answer: Http2Answer) -> None:
        """As the server's windows allow. Ends early if the server has answered already."""
        body, at = answer.request.body, 0
        while at < len(body) and not answer.is_over:
            window = self._h2.local_flow_control_window(answer.stream_id)
            size = min(window, self._h2.max_outbound_frame_size, len(body) - at)
            if size <= 0:
                await answer.wait()
                continue
            is_last = at + size == len(body)
            self._h2.send_data(answer.stream_id, body[at : at + size], end_stream=is_last)
            at += size
            self._write_soon()

    def end(self, answer: Answer) -> None:
        assert isinstance(answer, Http2Answer)
        self._answers.pop(answer.stream_id, None)
        stream = self._h2.streams.get(answer.stream_id)
        if stream is not None and not stream.closed and self._failure is None:
            self._h2.reset_stream(answer.stream_id, h2.errors.ErrorCodes.CANCEL)
            self._write_soon()

    async def run(self) -> None:
        """Read and write until either side closes; then all that wait are told."""
        kind, detail = "connection", ""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                try:
                    await self._read()
                    detail = self._wire.reason
                except h2.exceptions.ProtocolError as error:
                    kind, detail = "protocol", str(error) or type(error).__name__
                tasks.cancel_scope.cancel()
        finally:
            self.is_open, self._failure = False, RequestFailed(kind, detail)
            self._ready.set()
            for answer in self._answers.values():
                answer.fail(kind, detail, is_unseen=kind == "connection" and self._num_asked > 1)
            self._wire.close()

    def close(self) -> None:
        self.is_open = False
        self._wire.close()

    async def _read(self) -> None:
        has_begun = False
        while True:
            at_s, data = await self._wire.receive()
            if not data:
                return
            if not has_begun and data[3:4] not in {_SETTINGS, b""}:
                raise _NoHttp2("the server does not speak HTTP/2")  # h2 would wait for more
            has_begun = True
            for event in self._h2.receive_data(data):
                if type(event) is h2.events.DataReceived:
                    self._credit_bytes += event.flow_controlled_length or 0
                    if event.data and (answer := self._answers.get(event.stream_id or 0)):
                        answer.push(at_s, event.data)
                else:
                    self._take(event, at_s)
            if self._credit_bytes >= _CREDIT_BYTES:
                self._h2.increment_flow_control_window(self._credit_bytes)
                self._credit_bytes = 0
            self._write_soon()

    def _take(self, event: h2.events.Event, at_s: float) -> None:
        match event:
            case h2.events.RemoteSettingsChanged():
                self._ready.set()
                self._wake_all()
            case h2.events.WindowUpdated():
                self._wake_all()
            case h2.events.ConnectionTerminated():
                self.is_open = False
                last_id = event.last_stream_id or 0
                for answer in list(self._answers.values()):
                    if answer.stream_id > last_id:
                        answer.fail("connection", "the server goes away", is_unseen=True)
            case _:
                answer_or_none = self._answers.get(getattr(event, "stream_id", None) or 0)
                if answer_or_none is not None:
                    _tell(answer_or_none, event, at_s)

    def _wake_all(self) -> None:
        for answer in self._answers.values():
            answer.wake()

    def _write_soon(self) -> None:
        if data := self._h2.data_to_send():
            self._unsent.append(data)
            self._to_write.set()

    async def _write(self) -> None:
        while True:
            while self._unsent:
                data = b"".join(self._unsent)
                self._unsent.clear()
                await self._wire.send(data)
            self._to_write = anyio.Event()
            await self._to_write.wait()


def _tell(answer: Http2Answer, event: h2.events.Event, at_s: float) -> None:
    match event:
        case h2.events.ResponseReceived():
            headers = {bytes(name): bytes(value) for name, value in event.headers or ()}
            status = int(headers.get(b":status", b"0"))
            kind = headers.get(b"content-type", b"").decode("latin-1")
            answer.begin = Head(status, kind)
            answer.wake()
        case h2.events.StreamEnded():
            answer.finish(at_s)
        case h2.events.StreamReset():
            is_refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
            answer.fail(
                "connection", f"reset by the server ({event.error_code})", is_unseen=is_refused
            )
        case _:
            pass


def _new_h2() -> h2.connection.H2Connection:
    config = h2.config.H2Configuration(client_side=True, header_encoding=None)
    connection = h2.connection.H2Connection(config)
    connection.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: _MAX_WINDOW,
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: connection.DEFAULT_MAX_HEADER_LIST_SIZE,
        },
    )
    # h2 takes a GOAWAY for the end of all streams, but those up to the last that it names go on.
    states, inputs = h2.connection.ConnectionState, h2.connection.ConnectionInputs
    connection.state_machine._transitions = {
        **connection.state_machine._transitions,
        (states.CLIENT_OPEN, inputs.RECV_GOAWAY): (None, states.CLIENT_OPEN),
    }
    connection.initiate_connection()
    connection.increment_flow_control_window(_MAX_WINDOW - _DEFAULT_WINDOW)
    return connection
