"""Opens an `Exchange` for each request and records it after its last byte. The outermost layer.

Joins the caller's trace, answers with `x-request-id`, `x-trace-id` and `openai-processing-ms`, and
hands one `RequestRecord` to the recorder however the request ends: answered, failed, cancelled, or
left by its client.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from observability.record import RequestRecord
from observability.trace_context import TraceContext
from service.errors import shortened
from service.exchange import SCOPE_KEY, Exchange, route_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from observability.recorder import Recorder
    from observability.trace_context import RandomBytes

# Visible ASCII without blanks: it goes into logs and back into a header.
_SANE_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_MAX_PATH_CHARS = 256
_MAX_WARNED = 16
_MAX_WARNED_CHARS = 64


class TracingMiddleware:
    """One exchange for each HTTP request; other scopes pass untouched."""

    def __init__(
        self,
        app: ASGIApp,
        recorder: Recorder,
        clock_ns: Callable[[], int],
        random: RandomBytes,
    ) -> None:
        """`clock_ns` is `time.monotonic_ns` and `random` `secrets.token_bytes`, but in tests."""
        self._app = app
        self._recorder = recorder
        self._clock_ns = clock_ns
        self._random = random

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = self._open(scope)
        scope[SCOPE_KEY] = exchange
        is_complete = False

        async def receive_and_note() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not is_complete:
                exchange.client_left = True
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal is_complete
            if message["type"] == "http.response.start":
                exchange.status_code = message["status"]
                message = {**message, "headers": [*message["headers"], *self._headers(exchange)]}
            elif message["type"] == "http.response.body":
                is_complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive_and_note, send_and_note)
        finally:  # no await in here: the task may be cancelled
            exchange.end_ns = self._clock_ns()
            self._recorder.record(record_of(scope, exchange))

    def _open(self, scope: Scope) -> Exchange:
        traceparent = _header(scope, b"traceparent")
        tracestate = _header(scope, b"tracestate")
        return Exchange(
            request_id=self._request_id(_header(scope, b"x-request-id")),
            trace=TraceContext.from_headers(traceparent, tracestate, self._random),
            start_ns=self._clock_ns(),
        )

    def _request_id(self, given: str | None) -> str:
        if given is not None and _SANE_REQUEST_ID.fullmatch(given):
            return given
        return f"req_{self._random(12).hex()}"

    def _headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        elapsed_ms = (self._clock_ns() - exchange.start_ns) // 1_000_000
        headers = [
            (b"x-request-id", exchange.request_id.encode("ascii")),
            (b"x-trace-id", exchange.trace.trace_id.encode("ascii")),
            (b"openai-processing-ms", b"%d" % elapsed_ms),
        ]
        if exchange.ignored_fields:
            headers.append((b"warning", _warning(exchange.ignored_fields)))
        return headers


def _warning(ignored_fields: list[str]) -> bytes:
    """The value of a `warning` header (RFC 7234 5.5): what a client sent, but printable and short."""
    names = [
        "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in name)
        for name in ignored_fields[:_MAX_WARNED]
    ]
    text = ", ".join(shortened(name, _MAX_WARNED_CHARS) for name in names)
    num_more = len(ignored_fields) - len(names)
    more = f" and {num_more} more" if num_more else ""
    return f'299 kvorum "without effect: {text}{more}"'.replace("…", "...").encode("ascii")


def record_of(scope: Scope, exchange: Exchange) -> RequestRecord:
    """The facts of a finished exchange."""
    address, port = (scope.get("server") or (None, None))[:2]
    return RequestRecord(
        trace=exchange.trace,
        request_id=exchange.request_id,
        method=scope["method"],
        route=route_template(scope),
        path=scope.get("raw_path", b"").decode("ascii", "replace")[:_MAX_PATH_CHARS],
        status_code=exchange.status_code,
        start_ns=exchange.start_ns,
        end_ns=exchange.end_ns,
        error_type=exchange.error_type,
        client_left=exchange.client_left,
        scheme=scope.get("scheme", "http"),
        protocol_version=scope.get("http_version", "1.1"),
        server_address=address,
        server_port=port,
        generation=exchange.generation,
    )


def _header(scope: Scope, name: bytes) -> str | None:
    """A header's value; one that came several times is joined by commas (RFC 9110 5.3)."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1") if values else None
