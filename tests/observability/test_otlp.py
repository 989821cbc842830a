"""A record goes through the real exporters to a real receiver and is read by the official protobuf."""

from collections.abc import Iterator
from queue import SimpleQueue

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from infra.trace.receiver import Receiver
from infra.trace.span import spans_of
from observability.metrics import Metrics
from observability.recorder import Recorder
from observability.trace_context import TraceContext
from observability.tracing import Tracing
from tests.observability.records import (
    CLOCK,
    GENERATION,
    REQUEST,
    TRACE,
    CountingBytes,
    generation,
    request,
    wall,
)

Arrived = SimpleQueue[ExportTraceServiceRequest]


@pytest.fixture
def arrived() -> Arrived:
    return SimpleQueue()


@pytest.fixture
def receiver(arrived: Arrived) -> Iterator[Receiver]:
    with Receiver(0, 0, arrived.put) as listening:
        yield listening


@pytest.fixture(params=["grpc", "http", "http, signal's own endpoint"])
def environ(request: pytest.FixtureRequest, receiver: Receiver) -> dict[str, str]:
    if request.param == "grpc":
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.grpc_port}"}
    base = f"http://127.0.0.1:{receiver.http_port}"
    if request.param == "http":
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": base,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{base}/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }


def recorder(tracing: Tracing) -> Recorder:
    return Recorder(tracing, Metrics([]), CLOCK, CountingBytes())


def plain(span: Span) -> dict[str, object]:
    [decoded] = spans_of(_wrapped(span))
    return dict(decoded.attributes)


def _wrapped(span: Span) -> ExportTraceServiceRequest:
    whole = ExportTraceServiceRequest()
    whole.resource_spans.add().scope_spans.add().spans.append(span)
    return whole


def test_the_tree_on_the_wire_is_exact(environ: dict[str, str], arrived: Arrived) -> None:
    tracing = Tracing.from_environment(environ, service_version="1.2.3", instance_id="one")
    recorder(tracing).record(REQUEST)
    tracing.shutdown()
    assert (tracing.counts.recorded, tracing.counts.exported, tracing.counts.dropped) == (7, 7, 0)

    [group] = arrived.get(timeout=10).resource_spans
    resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
    assert (
        resource.items()
        >= {
            "service.name": "kvorum",
            "service.version": "1.2.3",
            "service.instance.id": "one",
            "telemetry.sdk.name": "opentelemetry",
        }.items()
    )
    [scope] = group.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("kvorum", "1.2.3")
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"

    internal, unset = Span.SPAN_KIND_INTERNAL, Status.STATUS_CODE_UNSET
    chat_id = f"{1:016x}"
    assert [
        (
            span.name,
            span.kind,
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code,
        )
        for span in scope.spans
    ] == [
        (
            "POST /v1/chat/completions",
            Span.SPAN_KIND_SERVER,
            TRACE.span_id,
            TRACE.parent_span_id,
            wall(0),
            wall(414),
            unset,
        ),
        ("chat kvorum-mini", internal, chat_id, TRACE.span_id, wall(1), wall(412), unset),
        ("tokenize", internal, f"{2:016x}", chat_id, wall(1), wall(4), unset),
        ("queue", internal, f"{3:016x}", chat_id, wall(4), wall(38), unset),
        ("queue", internal, f"{4:016x}", chat_id, wall(200), wall(240), unset),
        ("prefill", internal, f"{5:016x}", chat_id, wall(38), wall(131), unset),
        ("decode", internal, f"{6:016x}", chat_id, wall(131), wall(411), unset),
    ]
    assert {span.trace_id.hex() for span in scope.spans} == {TRACE.trace_id}
    assert {span.trace_state for span in scope.spans} == {"vendor=1,other=2"}
    # Flag 0x200: the parent is on another machine; 0x100: that this is known at all.
    assert [span.flags & 0x300 for span in scope.spans] == [0x300] + [0x100] * 6
    events = [[(one.name, one.time_unix_nano) for one in span.events] for span in scope.spans]
    assert events == [[]] * 6 + [[("first_token", wall(131))]]

    server, chat, tokenize, queue, again, prefill, decode = map(plain, scope.spans)
    assert server == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "url.scheme": "https",
        "url.path": "/v1/chat/completions",
        "network.protocol.version": "2",
        "server.address": "localhost",
        "server.port": 8000,
        "kvorum.request.id": "req_1",
    }
    assert chat == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "kvorum",
        "gen_ai.request.model": "kvorum-mini",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 128,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 40,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ["\n\n", "END"],
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "kvorum-mini",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.13,
        "gen_ai.usage.input_tokens": 1184,
        "gen_ai.usage.output_tokens": 96,
        "gen_ai.usage.cache_read.input_tokens": 640,
        "kvorum.preemptions": 1,
    }
    assert tokenize == {"gen_ai.usage.input_tokens": 1184}
    assert (queue, again) == ({"kvorum.queue.index": 0}, {"kvorum.queue.index": 1})
    assert prefill == {"kvorum.prefill.chunks": 2, "kvorum.prefill.tokens": 544}
    assert decode == {"kvorum.decode.steps": 95, "gen_ai.usage.output_tokens": 96}


def test_a_trace_that_starts_here_has_a_root_without_parent(
    environ: dict[str, str], arrived: Arrived
) -> None:
    trace = TraceContext.from_headers(None, None, CountingBytes())
    tracing = Tracing.from_environment(environ)
    recorder(tracing).record(request(trace=trace, generation=None))
    tracing.shutdown()
    [server] = arrived.get(timeout=10).resource_spans[0].scope_spans[0].spans
    assert server.parent_span_id == b""
    assert server.trace_id.hex() == trace.trace_id
    assert server.flags & 0x300 == 0x100


def test_a_fault_is_an_error_status_on_the_wire(environ: dict[str, str], arrived: Arrived) -> None:
    tracing = Tracing.from_environment(environ)
    recorder(tracing).record(request(generation=generation(error_type="engine_error")))
    tracing.shutdown()
    spans = arrived.get(timeout=10).resource_spans[0].scope_spans[0].spans
    assert [span.status.code for span in spans] == [Status.STATUS_CODE_ERROR] * 2 + [0] * 5


def test_numbers_too_large_for_the_wire_cost_their_attribute_only(
    environ: dict[str, str], arrived: Arrived
) -> None:
    tracing = Tracing.from_environment(environ)
    recorder(tracing).record(request(generation=generation(seed=2**80)))
    tracing.shutdown()
    spans = arrived.get(timeout=10).resource_spans[0].scope_spans[0].spans
    assert len(spans) == 7
    assert "gen_ai.request.seed" not in plain(spans[1])


def test_the_operator_names_the_service(receiver: Receiver, arrived: Arrived) -> None:
    tracing = Tracing.from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.grpc_port}",
            "OTEL_SERVICE_NAME": "chat-gateway",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=lab%201,service.name=no,"
            "service.instance.id=seven",
        },
        instance_id="one",
    )
    recorder(tracing).record(request(generation=None))
    tracing.shutdown()
    [group] = arrived.get(timeout=10).resource_spans
    resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
    assert resource["service.name"] == "chat-gateway"
    assert resource["deployment.environment.name"] == "lab 1"
    assert resource["service.instance.id"] == "seven"


def test_sampling_follows_the_parent_or_the_ratio(receiver: Receiver, arrived: Arrived) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.grpc_port}"}
    sampled_parent = TRACE
    unsampled_parent = TraceContext(TRACE.trace_id, "1" * 16, "2" * 16, sampled=False)
    low = TraceContext("0" * 31 + "1", "3" * 16)
    high = TraceContext("f" * 32, "4" * 16)
    traces = [sampled_parent, unsampled_parent, low, high]
    half = {"OTEL_TRACES_SAMPLER_ARG": "0.5"}
    for sampler, expected in (
        ({}, [True, False, True, True]),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, [True] * 4),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, [False] * 4),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, [True, False, False, False]),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"} | half, [True, False, True, False]),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"} | half, [False, False, True, False]),
    ):
        tracing = Tracing.from_environment(endpoint | sampler)
        record = recorder(tracing)
        for trace in traces:
            record.record(request(trace=trace, generation=None))
        tracing.shutdown()
        assert tracing.counts.exported == sum(expected), sampler
        got = []
        if any(expected):
            spans = arrived.get(timeout=10).resource_spans[0].scope_spans[0].spans
            got = [span.span_id.hex() for span in spans]
        assert got == [t.span_id for t, kept in zip(traces, expected, strict=True) if kept], sampler


def test_a_full_queue_drops_whole_traces_and_counts_them(
    receiver: Receiver, arrived: Arrived
) -> None:
    tracing = Tracing.from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.grpc_port}",
            "OTEL_BSP_MAX_QUEUE_SIZE": "20",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20",
        }
    )
    record = recorder(tracing)
    for _ in range(3):  # 7 spans each: the third does not fit
        record.record(REQUEST)
    assert tracing.counts.dropped == 7
    tracing.shutdown()
    spans = arrived.get(timeout=10).resource_spans[0].scope_spans[0].spans
    assert [span.name for span in spans].count("decode") == len(spans) / 7 == 2
    assert (tracing.counts.recorded, tracing.counts.exported) == (21, 14)
    assert GENERATION.queues  # two waits make the seven
