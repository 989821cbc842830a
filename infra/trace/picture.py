"""Draws a trace as one self-contained SVG, legible on light and on dark pages.

No script, no font file, nothing loaded: GitHub shows it as an image, where the style sheet's
`prefers-color-scheme` still follows the reader.
"""

from html import escape
from typing import Final

from infra.trace.layout import Row, duration_text, notes, rows, tick_text, ticks_ns
from infra.trace.span import Span
from infra.trace.trace_book import Trace

# Pixels. The columns: tree | time axis | duration | notes.
_WIDTH: Final = 1000
_MARGIN: Final = 28
_HEAD: Final = 102
_ROW: Final = 36
_BAR: Final = 18
_INDENT: Final = 20
_AXIS_LEFT: Final = 268
_AXIS_RIGHT: Final = 700
_DURATION_RIGHT: Final = 780
_NOTES_LEFT: Final = 794
_FOOT: Final = 46

# Characters of the sans face at 13 pixels that surely fit, as no text can be measured here.
_MAX_NAME: Final = 30
_MAX_NOTE: Final = 27

_KNOWN_PHASES: Final = ("tokenize", "queue", "prefill", "decode")

_STYLE: Final = """
text{font-family:ui-sans-serif,-apple-system,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif;font-size:13px;fill:#1f2430}
.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12px}
.title{font-size:17px;font-weight:600}.strong{font-weight:600}.quiet{fill:#667085}
.card{fill:#ffffff;stroke:#d9dee7}.stripe{fill:#f5f7fa}.grid{stroke:#e3e7ee}.branch{stroke:#b6bfcc;fill:none}
.server{fill:#475569}.generation{fill:#7c5cd6}.tokenize{fill:#0e9f9a}.queue{fill:#e0962b}.prefill{fill:#2f7fe0}.decode{fill:#2da862}.other{fill:#8a94a6}.error{fill:#d64545}
.moment{stroke:#d0417e;stroke-dasharray:3 3}.mark{fill:#d0417e;stroke:#ffffff}.momenttext{fill:#b52f69;font-weight:600}.errortext{fill:#b93030}
@media (prefers-color-scheme:dark){text{fill:#e6e9ef}.quiet{fill:#98a2b3}
.card{fill:#12161d;stroke:#2c3442}.stripe{fill:#181d26}.grid{stroke:#262d39}.branch{stroke:#4a5566}
.server{fill:#8494ab}.generation{fill:#a58bf5}.tokenize{fill:#2cc5bf}.queue{fill:#f0b04f}.prefill{fill:#5aa2f7}.decode{fill:#4cc983}.other{fill:#77839a}.error{fill:#f07070}
.moment{stroke:#f06ba3}.mark{fill:#f06ba3;stroke:#12161d}.momenttext{fill:#f58bb8}.errortext{fill:#f58f8f}}
"""


def draw_picture(trace: Trace) -> str:
    """The trace as SVG text."""
    drawn = rows(trace)
    bottom = _HEAD + len(drawn) * _ROW
    height = bottom + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        f'<title id="title">{_text(_summary(trace, drawn))}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="12"/>',
        *_head(trace, drawn),
        *_stripes(len(drawn)),
        *_axis(trace, bottom),
        *_moments_below(trace, drawn, bottom),
    ]
    for index, row in enumerate(drawn):
        parts += _row(trace, drawn, index, row)
    parts += _marks(trace, drawn)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _summary(trace: Trace, drawn: list[Row]) -> str:
    names = ", ".join(f"{row.span.name} {duration_text(row.span.duration_ns)}" for row in drawn)
    return f"Trace {trace.trace_id}: {names}"


def _head(trace: Trace, drawn: list[Row]) -> list[str]:
    root = drawn[0].span
    generations = [row.span for row in drawn if _role(row.span) == "generation"]
    facts = [root.service, duration_text(trace.duration_ns)]
    facts += notes(generations[0]) if generations else [f"{len(trace.spans)} spans"]
    line = _short(" · ".join(fact for fact in facts if fact), 110)
    return [
        f'<text class="title" x="{_MARGIN}" y="38">{_text(_short(root.name, 60))}</text>',
        f'<text class="quiet" x="{_MARGIN}" y="60">{_text(line)}</text>',
        f'<text class="mono quiet" x="{_WIDTH - _MARGIN}" y="38" text-anchor="end">'
        f"trace {_text(trace.trace_id)}</text>",
    ]


def _stripes(num_rows: int) -> list[str]:
    return [
        f'<rect class="stripe" x="1" y="{_HEAD + index * _ROW}" width="{_WIDTH - 2}" '
        f'height="{_ROW}"/>'
        for index in range(0, num_rows, 2)
    ]


def _axis(trace: Trace, bottom: int) -> list[str]:
    parts = []
    for tick in ticks_ns(trace.duration_ns):
        x = _x(trace, trace.start_ns + tick)
        text = _text(tick_text(tick, trace.duration_ns))
        parts += [
            f'<path class="grid" d="M{x} {_HEAD - 4}V{bottom + 8}"/>',
            f'<text class="quiet" x="{x}" y="{bottom + 26}" text-anchor="middle" '
            f'style="font-size:12px">{text}</text>',
        ]
    return parts


def _moments_below(trace: Trace, drawn: list[Row], bottom: int) -> list[str]:
    """A dashed line through all rows and a caption above them, for the first event only."""
    events = [event for row in drawn for event in row.span.events]
    if not events:
        return []
    event = events[0]
    x = _x(trace, event.time_ns)
    caption = (
        f"{event.name.replace('_', ' ')} after {duration_text(event.time_ns - trace.start_ns)}"
    )
    # The caption stays over the axis, whichever end of it the event is close to.
    share = (x - _AXIS_LEFT) / (_AXIS_RIGHT - _AXIS_LEFT)
    anchor = "start" if share < 0.2 else "end" if share > 0.8 else "middle"
    return [
        f'<path class="moment" d="M{x} {_HEAD - 8}V{bottom + 8}"/>',
        f'<text class="momenttext" x="{x}" y="{_HEAD - 14}" text-anchor="{anchor}" '
        f'style="font-size:12px">{_text(_short(caption, 60))}</text>',
    ]


def _row(trace: Trace, drawn: list[Row], index: int, row: Row) -> list[str]:
    top = _HEAD + index * _ROW
    middle = top + _ROW // 2
    base = middle + 5
    span = row.span
    x = _x(trace, span.start_ns)
    # Short spans keep two pixels; the end of the axis is never crossed.
    width = max(2.0, round(_x(trace, span.end_ns) - x, 1))
    x = min(x, _AXIS_RIGHT - width)
    radius = min(4.0, width / 2)
    colour = "error" if span.is_error else _role(span)
    weight = "strong" if row.depth == 0 else ""
    note = _fitting(notes(span))
    name_left = _MARGIN + row.depth * _INDENT
    return [
        *_branch(drawn, index, row, middle),
        f'<text class="{weight}" x="{name_left}" y="{base}">'
        f"{_text(_short(span.name, _MAX_NAME - 2 * row.depth))}</text>",
        f'<rect class="{colour}" x="{x}" y="{middle - _BAR // 2}" width="{width}" '
        f'height="{_BAR}" rx="{radius}"><title>{_text(_hover(span))}</title></rect>',
        f'<text class="strong" x="{_DURATION_RIGHT}" y="{base}" text-anchor="end">'
        f"{_text(duration_text(span.duration_ns))}</text>",
        f'<text class="{"errortext" if span.is_error else "quiet"}" x="{_NOTES_LEFT}" y="{base}" '
        f'style="font-size:12px">{_text(note)}</text>',
    ]


def _branch(drawn: list[Row], index: int, row: Row, middle: int) -> list[str]:
    """From the parent's name down and to the right."""
    if row.depth == 0:
        return []
    above = index - 1
    while drawn[above].depth >= row.depth:
        above -= 1
    x = _MARGIN + (row.depth - 1) * _INDENT + 6
    start = _HEAD + above * _ROW + _ROW // 2 + 11
    return [f'<path class="branch" d="M{x} {start}V{middle - 4}q0 4 4 4h6"/>']


def _marks(trace: Trace, drawn: list[Row]) -> list[str]:
    parts = []
    for index, row in enumerate(drawn):
        y = _HEAD + index * _ROW + _ROW // 2
        for event in row.span.events:
            x = _x(trace, event.time_ns)
            parts.append(f'<path class="mark" d="M{x} {y - 8}l8 8l-8 8l-8 -8z"/>')
    return parts


def _x(trace: Trace, time_ns: int) -> float:
    share = (time_ns - trace.start_ns) / max(1, trace.duration_ns)
    inside = max(0.0, min(share, 1.0))
    return round(_AXIS_LEFT + inside * (_AXIS_RIGHT - _AXIS_LEFT), 1)


def _role(span: Span) -> str:
    if span.is_server:
        return "server"
    if "gen_ai.request.model" in span.attributes:
        return "generation"
    return span.name if span.name in _KNOWN_PHASES else "other"


def _hover(span: Span) -> str:
    lines = [f"{span.name}: {duration_text(span.duration_ns)}"]
    return "\n".join(lines + [f"{name} = {value}" for name, value in span.attributes.items()])


def _fitting(found: list[str]) -> str:
    """As many whole notes as the column holds."""
    line = ""
    for note in found:
        longer = f"{line} · {note}" if line else _short(note, _MAX_NOTE)
        if len(longer) <= _MAX_NOTE:
            line = longer
    return line


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(1, length - 1)] + "…"


def _text(text: str) -> str:
    """Escaped, and without characters that XML forbids."""
    return escape("".join(one if one.isprintable() or one == "\n" else "?" for one in text))
