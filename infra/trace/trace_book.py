"""Gathers spans into traces and says when one is complete. Pure: the time is an argument."""

from typing import Final

import msgspec

from infra.trace.span import Span

QUIET_S: Final = 0.3
"""A trace with a SERVER span is complete when nothing has arrived for this long."""
ORPHAN_S: Final = 10.0
"""The same for a trace without one: its server may be slow, or may not exist."""
MAX_OPEN_TRACES: Final = 1_000
MAX_SPANS_PER_TRACE: Final = 2_000


class Trace(msgspec.Struct, frozen=True):
    """A complete trace: at least one span, in order of start."""

    trace_id: str
    spans: tuple[Span, ...]

    @property
    def start_ns(self) -> int:
        return min(span.start_ns for span in self.spans)

    @property
    def end_ns(self) -> int:
        return max(span.end_ns for span in self.spans)

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


class _OpenTrace:
    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.last_arrival_s = 0.0

    def is_complete(self, now_s: float) -> bool:
        has_server = any(span.is_server for span in self.spans.values())
        return now_s - self.last_arrival_s >= (QUIET_S if has_server else ORPHAN_S)


class TraceBook:
    """Holds open traces only, a bounded number of bounded ones; a finished one is forgotten."""

    def __init__(self) -> None:
        self._open: dict[str, _OpenTrace] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, spans: list[Span], now_s: float) -> None:
        """Take spans in; a span that arrives twice counts once, the oldest trace makes room."""
        for span in spans:
            trace = self._open.setdefault(span.trace_id, _OpenTrace())
            trace.last_arrival_s = now_s
            if len(trace.spans) < MAX_SPANS_PER_TRACE:
                trace.spans[span.span_id] = span
            if len(self._open) > MAX_OPEN_TRACES:
                del self._open[next(iter(self._open))]

    def finished(self, now_s: float) -> list[Trace]:
        """Hand out the traces that are complete, in order of arrival, and forget them."""
        done = [key for key, trace in self._open.items() if trace.is_complete(now_s)]
        return [_closed(key, self._open.pop(key)) for key in done]

    def rest(self) -> list[Trace]:
        """Hand out everything, complete or not."""
        traces = [_closed(key, trace) for key, trace in self._open.items()]
        self._open.clear()
        return traces


def _closed(trace_id: str, trace: _OpenTrace) -> Trace:
    spans = sorted(trace.spans.values(), key=lambda span: (span.start_ns, -span.end_ns))
    return Trace(trace_id, tuple(spans))
