"""From span descriptions to a collector, through the SDK's batch processor and exporters.

The one file that imports the OpenTelemetry SDK; `tracing` imports it only if spans are wanted.
There is no tracer and no provider, hence nothing global: spans are over when they arrive, so each
becomes a `ReadableSpan` with the ids it was given (7 us instead of 22 us through a tracer).
"""

import sys
import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import SpanKind as OtelSpanKind

from observability.export_settings import ExportSettings
from observability.semconv import SCHEMA_URL
from observability.span_counts import SpanCounts
from observability.span_tree import SpanDescription, SpanKind
from observability.trace_context import TraceContext

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_KINDS: Final = {SpanKind.SERVER: OtelSpanKind.SERVER, SpanKind.INTERNAL: OtelSpanKind.INTERNAL}
_STATUS: Final = {False: Status(StatusCode.UNSET), True: Status(StatusCode.ERROR)}

# Of the time a shutdown may take, the share for sending what is queued; the rest is for breaking
# off an export that hangs (the SDK retries for 10 s and waits 30 s for its own thread).
_FLUSH_SHARE: Final = 0.9


class SpanPipeline:
    """Samples, queues and exports; at most `max_queue_size` spans are ever in flight.

    `export` and `is_sampled` belong to one thread, the event loop's; the exporting happens on the
    batch processor's own thread. Each counter is written by one of the two only.
    """

    def __init__(
        self, settings: ExportSettings, resource: dict[str, str], service_version: str
    ) -> None:
        self._sampler = _sampler(settings)
        self._resource = Resource.create(dict(resource))
        self._scope = InstrumentationScope("kvorum", service_version or None, SCHEMA_URL)
        self._exporter = _CountingExporter(
            [_exporter(name, settings) for name in settings.exporters]
        )
        self._max_queue_size = settings.max_queue_size
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=settings.max_queue_size,
            schedule_delay_millis=settings.schedule_delay_ms,
            max_export_batch_size=settings.max_batch_size,
            meter_provider=NoOpMeterProvider(),
        )
        self._num_recorded = 0
        self._num_refused = 0
        self._is_closed = False

    def is_sampled(self, trace: TraceContext, name: str) -> bool:
        """The sampler's choice for the root span that `trace` stands for."""
        context = Context()  # empty, not None: None would mean the caller's current span
        if trace.parent_span_id is not None:
            parent = _context(trace.trace_id, trace.parent_span_id, trace.tracestate)
            remote = SpanContext(
                parent.trace_id,
                parent.span_id,
                is_remote=True,
                trace_flags=TraceFlags(int(trace.sampled is True)),
                trace_state=parent.trace_state,
            )
            context = set_span_in_context(NonRecordingSpan(remote), context)
        choice = self._sampler.should_sample(
            context, int(trace.trace_id, 16), name, OtelSpanKind.SERVER
        )
        return choice.decision is Decision.RECORD_AND_SAMPLE

    def export(self, spans: Sequence[SpanDescription]) -> None:
        """Queue the spans of one trace; all of them or, if the queue is full, none. Never blocks."""
        self._num_recorded += len(spans)
        settled = self._exporter.num_exported + self._exporter.num_failed + self._num_refused
        if self._is_closed or self._num_recorded - settled > self._max_queue_size:
            self._num_refused += len(spans)
            return
        for span in spans:
            self._processor.on_end(self._readable(span))

    @property
    def counts(self) -> SpanCounts:
        exported = self._exporter.num_exported
        dropped = self._exporter.num_failed + self._num_refused
        if self._is_closed:
            dropped = self._num_recorded - exported
        return SpanCounts(recorded=self._num_recorded, exported=exported, dropped=dropped)

    def shutdown(self, deadline_s: float) -> None:
        """Send what is queued, for `deadline_s` at most; what is left then is dropped."""
        self._is_closed = True
        flush = threading.Thread(
            target=self._processor.shutdown, name="kvorum-telemetry-shutdown", daemon=True
        )
        flush.start()
        flush.join(deadline_s * _FLUSH_SHARE)
        if not flush.is_alive():
            return
        # On a thread of its own, because closing a channel must not cost us the deadline either.
        threading.Thread(
            target=self._exporter.shutdown, name="kvorum-telemetry-abandon", daemon=True
        ).start()
        flush.join(deadline_s * (1 - _FLUSH_SHARE))

    def _readable(self, span: SpanDescription) -> ReadableSpan:
        parent = None
        if span.parent_span_id is not None:
            parent = _context(
                span.trace_id, span.parent_span_id, "", is_remote=span.has_remote_parent
            )
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id, span.tracestate),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(event.name, {}, event.time_ns) for event in span.events],
            kind=_KINDS[span.kind],
            status=_STATUS[span.is_error],
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )


class _CountingExporter(SpanExporter):
    """Hands each batch to every exporter, counts what became of it, and shuts down only once."""

    def __init__(self, exporters: Sequence[SpanExporter]) -> None:
        self._exporters = exporters
        self._is_shut = False
        self._lock = threading.Lock()
        self.num_exported = 0
        self.num_failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        is_taken = False
        try:
            if not self._is_shut:
                results = [exporter.export(spans) for exporter in self._exporters]
                is_taken = all(result is SpanExportResult.SUCCESS for result in results)
        finally:
            if is_taken:
                self.num_exported += len(spans)
            else:
                self.num_failed += len(spans)
        return SpanExportResult.SUCCESS if is_taken else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        with self._lock:
            if self._is_shut:
                return
            self._is_shut = True
        for exporter in self._exporters:
            exporter.shutdown()


def _context(
    trace_id: str, span_id: str, tracestate: str, *, is_remote: bool = False
) -> SpanContext:
    state = TraceState.from_header([tracestate]) if tracestate else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, _SAMPLED, state)


def _exporter(name: str, settings: ExportSettings) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(out=sys.stdout)  # its default is the stdout of import time
    # Only the protocol in use: importing gRPC takes 0.15 s and 15 MB.
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter(endpoint=settings.endpoint, meter_provider=NoOpMeterProvider())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter as HttpExporter,
    )

    return HttpExporter(endpoint=settings.endpoint, meter_provider=NoOpMeterProvider())


def _sampler(settings: ExportSettings) -> Sampler:
    name = settings.sampler.removeprefix("parentbased_")
    root: Sampler = ALWAYS_ON
    if name == "always_off":
        root = ALWAYS_OFF
    elif name == "traceidratio":
        root = TraceIdRatioBased(settings.sampler_ratio)
    return ParentBased(root) if name != settings.sampler else root
