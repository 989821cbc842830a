"""Draws the spans of one finished request from its record. Pure: no clock, no OpenTelemetry.

    SERVER    POST /v1/chat/completions        parent: the caller's span
    └─ INTERNAL  chat {model}
       ├─ tokenize
       ├─ queue                                one for each wait
       ├─ prefill
       └─ decode                               event first_token

A child never leaves its parent: its times are clamped, because the facts come from two processes
and a reader of traces takes an overhang for a bug of the clock.
"""

from enum import StrEnum

import msgspec

from observability import semconv
from observability.record import GenerationRecord, Interval, RequestRecord
from observability.trace_context import RandomBytes, TraceContext, new_span_id
from observability.wall_clock import WallClock

AttributeValue = str | bool | int | float | tuple[str, ...]
Attributes = dict[str, AttributeValue]


class SpanKind(StrEnum):
    SERVER = "server"
    INTERNAL = "internal"


class SpanEvent(msgspec.Struct, frozen=True):
    name: str
    time_ns: int
    """Unix time."""


class SpanDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A finished span in plain words: start <= end, and both lie within the parent's."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    has_remote_parent: bool = False
    tracestate: str = ""
    name: str
    kind: SpanKind = SpanKind.INTERNAL
    start_ns: int
    """Unix time."""
    end_ns: int
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    is_error: bool = False


def server_span_name(request: RequestRecord) -> str:
    """ "{method} {route}", or the method alone; "HTTP" stands for unknown methods."""
    method = request.method if request.method in semconv.KNOWN_METHODS else "HTTP"
    return f"{method} {request.route}" if request.route else method


def span_tree(
    request: RequestRecord, clock: WallClock, random: RandomBytes
) -> list[SpanDescription]:
    """The spans of one request, parents before children."""
    server = _server_span(request, clock)
    if request.generation is None:
        return [server]
    generation = _generation_span(request.generation, server, clock, random)
    phases = _phase_spans(request.generation, generation, clock, random)
    return [server, generation, *phases]


def _server_span(request: RequestRecord, clock: WallClock) -> SpanDescription:
    trace: TraceContext = request.trace
    start_ns = clock.at(request.start_ns)
    return SpanDescription(
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_span_id=trace.parent_span_id,
        has_remote_parent=trace.parent_span_id is not None,
        tracestate=trace.tracestate,
        name=server_span_name(request),
        kind=SpanKind.SERVER,
        start_ns=start_ns,
        end_ns=max(start_ns, clock.at(request.end_ns)),
        attributes=_server_attributes(request),
        is_error=request.is_fault,
    )


def _server_attributes(request: RequestRecord) -> Attributes:
    is_known = request.method in semconv.KNOWN_METHODS
    error_type = request.error_type
    if error_type is None and request.is_fault:
        fault_of_generation = request.generation.error_type if request.generation else None
        error_type = fault_of_generation or str(request.status_code)
    return _without_none(
        {
            semconv.HTTP_REQUEST_METHOD: request.method if is_known else semconv.OTHER_METHOD,
            semconv.HTTP_REQUEST_METHOD_ORIGINAL: None if is_known else request.method,
            semconv.HTTP_ROUTE: request.route,
            semconv.HTTP_RESPONSE_STATUS_CODE: request.status_code,
            semconv.URL_SCHEME: request.scheme,
            semconv.URL_PATH: request.path,
            semconv.NETWORK_PROTOCOL_VERSION: request.protocol_version,
            semconv.SERVER_ADDRESS: request.server_address,
            semconv.SERVER_PORT: request.server_port,
            semconv.ERROR_TYPE: error_type,
            semconv.KVORUM_REQUEST_ID: request.request_id,
            semconv.KVORUM_CLIENT_LEFT: request.client_left or None,
        }
    )


def _generation_span(
    generation: GenerationRecord, server: SpanDescription, clock: WallClock, random: RandomBytes
) -> SpanDescription:
    return _child(
        server,
        f"{generation.operation} {generation.model}",
        Interval(generation.start_ns, generation.end_ns),
        _generation_attributes(generation),
        clock,
        random,
        is_error=generation.error_type is not None,
    )


def _generation_attributes(generation: GenerationRecord) -> Attributes:
    first_chunk_s = None
    if generation.stream and generation.first_token_ns is not None:
        first_chunk_s = max(0, generation.first_token_ns - generation.start_ns) / 1e9
    return _without_none(
        {
            semconv.GEN_AI_OPERATION_NAME: generation.operation,
            semconv.GEN_AI_PROVIDER_NAME: semconv.PROVIDER_NAME,
            semconv.GEN_AI_REQUEST_MODEL: generation.model,
            semconv.GEN_AI_REQUEST_STREAM: generation.stream,
            semconv.GEN_AI_REQUEST_MAX_TOKENS: generation.max_tokens,
            semconv.GEN_AI_REQUEST_TEMPERATURE: generation.temperature,
            semconv.GEN_AI_REQUEST_TOP_P: generation.top_p,
            semconv.GEN_AI_REQUEST_TOP_K: generation.top_k,
            semconv.GEN_AI_REQUEST_SEED: generation.seed,
            # The convention wants it only when it is not 1.
            semconv.GEN_AI_REQUEST_CHOICE_COUNT: (
                generation.choice_count if generation.choice_count != 1 else None
            ),
            semconv.GEN_AI_REQUEST_STOP_SEQUENCES: generation.stop_sequences or None,
            semconv.GEN_AI_RESPONSE_ID: generation.response_id,
            semconv.GEN_AI_RESPONSE_MODEL: generation.model,
            semconv.GEN_AI_RESPONSE_FINISH_REASONS: generation.finish_reasons or None,
            semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: first_chunk_s,
            semconv.GEN_AI_USAGE_INPUT_TOKENS: generation.prompt_tokens,
            semconv.GEN_AI_USAGE_OUTPUT_TOKENS: generation.output_tokens,
            semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: generation.cached_tokens,
            semconv.KVORUM_PREEMPTIONS: max(0, len(generation.queues) - 1),
            semconv.ERROR_TYPE: generation.error_type,
        }
    )


def _phase_spans(
    generation: GenerationRecord, parent: SpanDescription, clock: WallClock, random: RandomBytes
) -> list[SpanDescription]:
    spans = []
    if generation.tokenize is not None:
        tokens: Attributes = {semconv.GEN_AI_USAGE_INPUT_TOKENS: generation.prompt_tokens}
        spans.append(_child(parent, "tokenize", generation.tokenize, tokens, clock, random))
    for index, wait in enumerate(generation.queues):
        order: Attributes = {semconv.KVORUM_QUEUE_INDEX: index}
        spans.append(_child(parent, "queue", wait, order, clock, random))
    # One token only is a generation without decode: the event then belongs to the prefill.
    first_token_ns = generation.first_token_ns
    if generation.prefill is not None:
        work: Attributes = {
            semconv.KVORUM_PREFILL_CHUNKS: generation.prefill_chunks,
            semconv.KVORUM_PREFILL_TOKENS: generation.prompt_tokens - generation.cached_tokens,
        }
        in_prefill = first_token_ns if generation.decode is None else None
        spans.append(_child(parent, "prefill", generation.prefill, work, clock, random, in_prefill))
    if generation.decode is not None:
        steps: Attributes = {
            semconv.KVORUM_DECODE_STEPS: generation.decode_steps,
            semconv.GEN_AI_USAGE_OUTPUT_TOKENS: generation.output_tokens,
        }
        spans.append(
            _child(parent, "decode", generation.decode, steps, clock, random, first_token_ns)
        )
    return spans


def _child(
    parent: SpanDescription,
    name: str,
    interval: Interval,
    attributes: Attributes,
    clock: WallClock,
    random: RandomBytes,
    first_token_ns: int | None = None,
    *,
    is_error: bool = False,
) -> SpanDescription:
    start_ns = _clamp(clock.at(interval.start_ns), parent.start_ns, parent.end_ns)
    end_ns = _clamp(clock.at(interval.end_ns), start_ns, parent.end_ns)
    events: tuple[SpanEvent, ...] = ()
    if first_token_ns is not None:
        time_ns = _clamp(clock.at(first_token_ns), start_ns, end_ns)
        events = (SpanEvent(semconv.EVENT_FIRST_TOKEN, time_ns),)
    return SpanDescription(
        trace_id=parent.trace_id,
        span_id=new_span_id(random),
        parent_span_id=parent.span_id,
        tracestate=parent.tracestate,
        name=name,
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=attributes,
        events=events,
        is_error=is_error,
    )


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _without_none(attributes: dict[str, AttributeValue | None]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}
