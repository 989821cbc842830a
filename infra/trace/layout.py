"""What both drawings share: rows of a tree, ticks of a time axis, words for a span."""

from typing import Final

import msgspec

from infra.trace.span import Span, Value
from infra.trace.trace_book import Trace

_MAX_TICKS: Final = 6


class Row(msgspec.Struct, frozen=True):
    """One span at its place in the tree."""

    span: Span
    depth: int
    is_last: bool
    """The last child of its parent."""
    open_above: tuple[bool, ...]
    """For each depth above the parent's: whether a branch goes on below this row."""


def rows(trace: Trace) -> list[Row]:
    """Depth first, children by start; spans without a known parent are roots."""
    known = {span.span_id for span in trace.spans}
    children: dict[str, list[Span]] = {}
    for span in trace.spans:
        parent = span.parent_span_id if span.parent_span_id in known else ""
        children.setdefault(parent, []).append(span)
    roots = children.pop("", [])
    if not roots:  # a broken client sent a circle of parents: it is opened at its first span
        roots = [trace.spans[0]]
        children[roots[0].parent_span_id].remove(roots[0])
    found: list[Row] = []
    pending = _siblings(roots, 0, ())
    while pending:
        row = pending.pop()
        found.append(row)
        below = children.pop(row.span.span_id, [])
        open_above = (*row.open_above, not row.is_last) if row.depth else ()
        pending += _siblings(below, row.depth + 1, open_above)
    return found


def _siblings(spans: list[Span], depth: int, open_above: tuple[bool, ...]) -> list[Row]:
    """Rows in reverse, ready to be popped."""
    last = len(spans) - 1
    made = [Row(span, depth, index == last, open_above) for index, span in enumerate(spans)]
    return made[::-1]


def ticks_ns(duration_ns: int) -> list[int]:
    """Round moments from 0 on: steps of 1, 2 or 5 times a power of ten, six at most."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if duration_ns // (step * factor) < _MAX_TICKS:
                return list(range(0, duration_ns + 1, step * factor))
        step *= 10


def duration_text(duration_ns: int) -> str:
    """Three significant digits: "420 us", "3.14 ms", "1.20 s"."""
    if duration_ns < 999_500:
        return f"{duration_ns / 1e3:.3g} µs"
    value, unit = (
        (duration_ns / 1e6, "ms") if duration_ns < 999_500_000 else (duration_ns / 1e9, "s")
    )
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {unit}"


def tick_text(tick_ns: int, duration_ns: int) -> str:
    """A tick in the unit that suits the whole axis."""
    if tick_ns == 0:
        return "0"
    for unit_ns, unit in ((10**9, "s"), (10**6, "ms"), (10**3, "µs")):
        if duration_ns >= unit_ns:
            return f"{tick_ns / unit_ns:g} {unit}"
    return f"{tick_ns} ns"


def notes(span: Span) -> list[str]:
    """The few attributes worth reading at a glance, in words."""
    found = []
    get = span.attributes.get
    if (status := get("http.response.status_code")) is not None:
        found.append(str(status))
    if get("kvorum.client.left"):
        found.append("client left")
    if "gen_ai.request.model" in span.attributes:
        found += _generation_notes(span)
    else:
        found += _phase_notes(span)
    if (error := get("error.type")) is not None and str(error) != str(status):
        found.append(str(error))
    return found


def _generation_notes(span: Span) -> list[str]:
    get = span.attributes.get
    prompt, output = get("gen_ai.usage.input_tokens"), get("gen_ai.usage.output_tokens")
    found = []
    if isinstance(prompt, int) and isinstance(output, int):
        found.append(f"{prompt} → {output} tokens")
    if cached := get("gen_ai.usage.cache_read.input_tokens"):
        found.append(f"{cached} cached")
    if preemptions := get("kvorum.preemptions"):
        found.append(f"preempted {preemptions}×")
    reasons = get("gen_ai.response.finish_reasons")
    if isinstance(reasons, list):
        found.append(" ".join(sorted({str(reason) for reason in reasons})))
    return found


def _phase_notes(span: Span) -> list[str]:
    get = span.attributes.get
    found = []
    if (steps := get("kvorum.decode.steps")) is not None:
        found.append(_counted(steps, "step"))
        if isinstance(steps, int) and steps > 0:
            found.append(f"{duration_text(span.duration_ns // steps)} each")
    elif (num_tokens := get("kvorum.prefill.tokens")) is not None:
        found.append(_counted(num_tokens, "token"))
        found.append(_counted(get("kvorum.prefill.chunks"), "chunk"))
    elif (num_tokens := get("gen_ai.usage.input_tokens")) is not None:
        found.append(_counted(num_tokens, "token"))
    return found


def _counted(number: Value, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
