"""One streamed request over HTTP/2 is one trace, read by the official protobuf messages."""

from __future__ import annotations

from itertools import pairwise
from queue import SimpleQueue
from typing import TYPE_CHECKING

import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.trace.receiver import Receiver
from tests.contract.conftest import running_server

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE_ID, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BODY = {
    "model": "kvorum-mini",
    "messages": [{"role": "user", "content": "What is 17 + 25?"}],
    "stream": True,
    "max_tokens": 8,
    "temperature": 0,
}


def stream_once(url: str) -> httpx.Response:
    with httpx.Client(http1=False, http2=True, timeout=30) as http:
        headers = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01"}
        response = http.post(f"{url}/v1/chat/completions", json=BODY, headers=headers)
        assert response.status_code == 200
        assert response.http_version == "HTTP/2"
        assert response.text.endswith("data: [DONE]\n\n")
        return response


def test_a_streamed_request_is_one_tree_under_its_callers_span() -> None:
    arrived: SimpleQueue[ExportTraceServiceRequest] = SimpleQueue()
    with Receiver(0, 0, arrived.put) as receiver:
        endpoint = f"http://127.0.0.1:{receiver.grpc_port}"
        with running_server("--log-level", "error", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as url:
            response = stream_once(url)
        spans = {
            span.name: span
            for resource in arrived.get(timeout=10).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }
    assert response.headers["x-trace-id"] == TRACE_ID
    root, chat = spans["POST /v1/chat/completions"], spans["chat kvorum-mini"]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
    assert root.parent_span_id.hex() == CALLER
    assert root.kind == Span.SPAN_KIND_SERVER
    assert chat.parent_span_id == root.span_id
    assert chat.kind == Span.SPAN_KIND_INTERNAL
    phases = [spans[name] for name in ("tokenize", "queue", "prefill", "decode")]
    assert set(spans) == {root.name, chat.name, *(phase.name for phase in phases)}
    for phase in phases:
        assert phase.parent_span_id == chat.span_id
        assert chat.start_time_unix_nano <= phase.start_time_unix_nano
        assert phase.start_time_unix_nano <= phase.end_time_unix_nano <= chat.end_time_unix_nano
    for earlier, later in pairwise(phases):
        assert earlier.end_time_unix_nano <= later.start_time_unix_nano
    assert root.start_time_unix_nano <= chat.start_time_unix_nano
    assert chat.end_time_unix_nano <= root.end_time_unix_nano
    attributes = {pair.key: pair.value for pair in chat.attributes}
    assert attributes["gen_ai.usage.output_tokens"].int_value == 8
    assert attributes["gen_ai.request.model"].string_value == "kvorum-mini"
