"""A received span, decoded from OTLP into plain values."""

from collections.abc import Iterable

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

Value = str | bool | int | float | list["Value"] | dict[str, "Value"] | None


class Event(msgspec.Struct, frozen=True):
    name: str
    time_ns: int
    """Unix time."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span; ids are hexadecimal, times Unix nanoseconds with end >= start."""

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    """Empty for the first span of a trace."""
    service: str = ""
    name: str
    is_server: bool = False
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    events: tuple[Event, ...] = ()
    is_error: bool = False

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    """All spans of one export; those without ids are left out."""
    spans = []
    for group in request.resource_spans:
        service = str(_values(group.resource.attributes).get("service.name", ""))
        for scope in group.scope_spans:
            spans += [_span(one, service) for one in scope.spans if one.trace_id and one.span_id]
    return spans


def _span(one: ProtoSpan, service: str) -> Span:
    return Span(
        trace_id=one.trace_id.hex(),
        span_id=one.span_id.hex(),
        parent_span_id=one.parent_span_id.hex(),
        service=service,
        name=one.name,
        is_server=one.kind == ProtoSpan.SPAN_KIND_SERVER,
        start_ns=one.start_time_unix_nano,
        end_ns=max(one.start_time_unix_nano, one.end_time_unix_nano),
        attributes=_values(one.attributes),
        events=tuple(Event(event.name, event.time_unix_nano) for event in one.events),
        is_error=one.status.code == Status.STATUS_CODE_ERROR,
    )


def _values(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bytes_value":
            return value.bytes_value.hex()
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _values(value.kvlist_value.values)
        case _:
            return None
