"""Draws requests below each other over time: when each waited, was computed, and was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.bench.report.plot import label, svg
from observability.bench.report.plot_scale import exact_scale, number_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.measured import Measured

MAX_LANES = 300
_WIDTH = 1080
_LEFT = 8
_RIGHT = 16
_BOTTOM = 36
_HEIGHT = 640
"""Of many lanes; a few are less high."""
_MIN_WIDTHS = {"red": 3.0}
"""A failure is to be seen, however quick it was."""
STATES = (
    ("waiting in the client", "grey"),
    ("to the first token", "blue"),
    ("answering", "green"),
    ("failed", "red"),
)
"""Names and hues, for a legend."""


def draw_swim_lanes(results: Sequence[Measured]) -> str:
    """The first `MAX_LANES` by when they were due."""
    shown = sorted(results, key=lambda one: (one.due_s, one.sent_s))[:MAX_LANES]
    height = max(3, min(12, _HEIGHT // max(len(shown), 1)))
    bottom = height * len(shown) + 6
    scale = exact_scale(0.0, max((one.end_s for one in shown), default=1.0), 10)

    def x(at_s: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * scale.place(at_s), 1)

    parts = []
    for value, text in scale.ticks:
        parts.append(f'<path class="grid" d="M{x(value)} 0V{bottom}"/>')
        parts.append(label(x(value), bottom + 14, text, "middle"))
    for index, one in enumerate(shown):
        top = index * height + 3
        pieces = [
            f'<rect class="area {hue}" x="{x(begin)}" y="{top}" '
            f'width="{max(_MIN_WIDTHS.get(hue, 0.5), round(x(end) - x(begin), 1))}" '
            f'height="{max(2, height - 1)}"/>'
            for hue, begin, end in _pieces(one)
        ]
        parts.append(f"<g><title>{_words(one)}</title>{''.join(pieces)}</g>")
    parts.append(label(_WIDTH / 2, bottom + 30, "seconds from the begin", "middle"))
    title = f"{len(shown)} requests over time, each a lane from when it was due to its end"
    return svg(title, _WIDTH, bottom + _BOTTOM, parts)


def _pieces(one: Measured) -> list[tuple[str, float, float]]:
    """Hues with begin and end. Those without length are left out, but never all."""
    if one.error:
        # What came before the failure stays to be seen.
        first_s = one.arrivals_s[0] if one.arrivals_s else one.end_s
        pieces = [("grey", one.due_s, one.sent_s), ("red", one.sent_s, one.end_s)]
        if one.arrivals_s:
            pieces[1:] = [("blue", one.sent_s, first_s), ("red", first_s, one.end_s)]
    else:
        first_s = one.arrivals_s[0] if one.arrivals_s else one.end_s
        pieces = [
            ("grey", one.due_s, one.sent_s),
            ("blue", one.sent_s, first_s),
            ("green", first_s, one.end_s),
        ]
    return [piece for piece in pieces if piece[2] > piece[1]] or [pieces[-1]]


def _words(one: Measured) -> str:
    # Numbers and our own words only: nothing to escape.
    said = [f"session {one.session}, turn {one.turn}"]
    if one.sent_s > one.due_s:
        said.append(f"waited {_ms(one.sent_s - one.due_s)} in the client")
    if one.arrivals_s:
        said.append(f"first token after {_ms(one.arrivals_s[0] - one.due_s)}")
    said.append(f"{'failed' if one.error else 'done'} after {_ms(one.end_s - one.due_s)}")
    return ", ".join(said)


def _ms(seconds: float) -> str:
    return f"{number_text(seconds * 1e3)} ms"
