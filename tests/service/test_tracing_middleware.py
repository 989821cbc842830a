"""The exchange of each request, and the one record of it, however it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from service.exchange import Exchange
from service.middleware.errors import ErrorMiddleware
from service.middleware.tracing import TracingMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from observability.record import RequestRecord
    from observability.recorder import Recorder


class Records:
    """Stands for the recorder."""

    def __init__(self) -> None:
        self.taken: list[RequestRecord] = []

    def record(self, request: RequestRecord) -> None:
        self.taken.append(request)


class Clock:
    """Advances a second at each reading."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 1_000_000_000
        return self.now_ns


class Connection:
    """One bare request against an application under the middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.records = Records()
        self.sent: list[Message] = []
        self.incoming: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]
        self.app = TracingMiddleware(app, cast("Recorder", self.records), Clock(), bytes_of_ones)

    async def run(self, **scope: Any) -> None:
        full: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/x",
            "raw_path": b"/x",
            "scheme": "https",
            "http_version": "2",
            "headers": [],
            "server": ("10.0.0.1", 443),
            **scope,
        }
        await self.app(full, self._receive, self._send)

    async def _receive(self) -> Message:
        return self.incoming.pop(0)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


def bytes_of_ones(num_bytes: int) -> bytes:
    return b"\x11" * num_bytes


async def start(send: Send, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"a", b"b")]})


async def piece(send: Send, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def test_an_answer_is_recorded_once_after_its_last_byte() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await piece(send, b"1", more=True)
        assert not connection.records.taken
        await piece(send, b"2")

    connection = Connection(app)
    await connection.run()
    [record] = connection.records.taken
    assert record.status_code == 200
    assert record.route is None
    assert record.path == "/x"
    assert (record.scheme, record.protocol_version) == ("https", "2")
    assert (record.server_address, record.server_port) == ("10.0.0.1", 443)
    assert record.end_ns > record.start_ns
    assert record.trace.trace_id == "11" * 16
    assert not record.client_left
    headers = dict(connection.sent[0]["headers"])
    assert headers == {
        b"a": b"b",
        b"x-request-id": b"req_" + b"11" * 12,
        b"x-trace-id": b"11" * 16,
        b"openai-processing-ms": b"1000",
    }


async def test_what_layers_below_note_in_the_exchange_is_in_the_record() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        Exchange.of(scope).error_type = "some_code"
        await start(send, 422)
        await piece(send, b"")

    connection = Connection(app)
    await connection.run()
    [record] = connection.records.taken
    assert (record.error_type, record.status_code) == ("some_code", 422)


async def test_a_disconnect_is_passed_on_and_noted_if_the_answer_was_not_complete() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    connection = Connection(app)
    connection.incoming.append({"type": "http.disconnect"})
    await connection.run()
    [record] = connection.records.taken
    assert record.client_left
    assert record.status_code is None


async def test_the_disconnect_that_servers_report_after_an_answer_is_none() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await start(send)
        await piece(send, b"")
        await receive()

    connection = Connection(app)
    connection.incoming.append({"type": "http.disconnect"})
    await connection.run()
    [record] = connection.records.taken
    assert not record.client_left


async def test_a_cancelled_request_is_recorded_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await anyio.sleep_forever()

    connection = Connection(app)
    with anyio.move_on_after(0):
        await connection.run()
    [record] = connection.records.taken
    assert record.status_code == 200


async def test_a_mistake_after_the_status_line_ends_the_body_without_an_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await piece(send, b"1", more=True)
        raise ZeroDivisionError

    connection = Connection(ErrorMiddleware(app))
    await connection.run()
    [record] = connection.records.taken
    assert record.error_type == "internal_error"
    assert connection.sent[-1]["more_body"]
    assert [entry.levelname for entry in caplog.records] == ["ERROR"]


async def test_two_traceparents_are_none() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)

    connection = Connection(app)
    header = (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")
    await connection.run(headers=[header])
    await connection.run(headers=[header, header])
    first, second = connection.records.taken
    assert first.trace.trace_id == "a" * 32
    assert first.trace.parent_span_id == "b" * 16
    assert second.trace.trace_id == "11" * 16


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    connection = Connection(app)
    await connection.run(type=kind)
    assert seen == [kind]
    assert not connection.records.taken
