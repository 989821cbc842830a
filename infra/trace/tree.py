"""Draws a trace as text: the tree on the left, bars on a common time axis, notes on the right."""

from typing import Final

from infra.trace.layout import Row, duration_text, notes, rows, tick_text, ticks_ns
from infra.trace.trace_book import Trace

_MIN_BAR_WIDTH: Final = 20
_MAX_LABEL_WIDTH: Final = 44
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_FULL: Final = "█"
_EVENT: Final = "◆"

_RESET: Final = "\x1b[0m"
_BOLD: Final = "\x1b[1m"
_DIM: Final = "\x1b[2m"
_RED: Final = "\x1b[31m"
_COLOURS: Final = {
    "tokenize": "\x1b[36m",
    "queue": "\x1b[33m",
    "prefill": "\x1b[34m",
    "decode": "\x1b[32m",
}
_OTHER_COLOUR: Final = "\x1b[35m"


def draw_tree(trace: Trace, width: int, *, has_colour: bool = False) -> str:
    """The trace in lines of about `width` characters, with a final newline."""
    paint = _Painter(has_colour)
    drawn = rows(trace)
    labels = [_label(row) for row in drawn]
    right = [_right(row) for row in drawn]
    label_width = max(len(label) for label in labels)
    right_width = max(len(text) for text in right)
    bar_width = max(_MIN_BAR_WIDTH, width - label_width - right_width - 5)

    services = ", ".join(sorted({span.service for span in trace.spans if span.service}))
    head = f"{paint(_BOLD, services or 'trace')}  {trace.trace_id}"
    lines = [f"{head}  {paint(_DIM, duration_text(trace.duration_ns))}"]
    for row, label, text in zip(drawn, labels, right, strict=True):
        colour = _RED if row.span.is_error else _COLOURS.get(row.span.name, _OTHER_COLOUR)
        bar = paint(colour, _bar(row, trace, bar_width))
        shown = paint(_RED, text) if row.span.is_error else text
        lines.append(f"{label:<{label_width}} │{bar}│ {shown}".rstrip())
    axis = _axis(trace.duration_ns, bar_width)
    lines.append(" " * (label_width + 2) + paint(_DIM, axis))
    return "\n".join(lines) + "\n"


class _Painter:
    def __init__(self, has_colour: bool) -> None:
        self._has_colour = has_colour

    def __call__(self, style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if self._has_colour else text


def _label(row: Row) -> str:
    branches = "".join("│  " if is_open else "   " for is_open in row.open_above)
    joint = "" if row.depth == 0 else "└─ " if row.is_last else "├─ "
    # Names come from the network: nothing of theirs may steer the terminal.
    name = "".join(one if one.isprintable() else "?" for one in row.span.name)
    label = f"{branches}{joint}{name}"
    return label if len(label) <= _MAX_LABEL_WIDTH else label[: _MAX_LABEL_WIDTH - 1] + "…"


def _right(row: Row) -> str:
    parts = [f"{duration_text(row.span.duration_ns):>8}", *notes(row.span)]
    text = " · ".join(parts).replace(" · ", "  ", 1)
    return "".join(one if one.isprintable() else "?" for one in text)


def _bar(row: Row, trace: Trace, width: int) -> str:
    """Cells of eighths: the start is rounded to a cell, the end to an eighth of one."""
    scale = width / max(1, trace.duration_ns)
    start = (row.span.start_ns - trace.start_ns) * scale
    end = (row.span.end_ns - trace.start_ns) * scale
    first = min(int(start), width - 1)
    eighths = max(1, min(round((end - first) * 8), (width - first) * 8))
    full, part = divmod(eighths, 8)
    cells = list((" " * first + _FULL * full + (_EIGHTHS[part] if part else "")).ljust(width))
    for event in row.span.events:
        place = int((event.time_ns - trace.start_ns) * scale)
        cells[max(0, min(place, width - 1))] = _EVENT
    return "".join(cells)


def _axis(duration_ns: int, width: int) -> str:
    """Tick texts, each beginning under its moment; one that would touch its neighbour is left out."""
    line = ""
    for tick in ticks_ns(duration_ns):
        place = min(width - 1, int(tick * width / max(1, duration_ns)))
        text = tick_text(tick, duration_ns)
        if place >= len(line) + (1 if line else 0) and place + len(text) <= width:
            line = line.ljust(place) + text
    return line
