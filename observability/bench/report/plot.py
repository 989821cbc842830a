"""Draws lines, histograms and bars with whiskers as SVG, for pages that bring `page.css`.

The colours are that sheet's: a hue is the name of one of its classes. Pure; everything that comes
in as text is escaped.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

from observability.bench.report.plot_scale import Scale, linear_scale, number_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LEFT = 52
_RIGHT = 14
_TOP = 12
_BOTTOM = 34
_MAX_POINTS = 300
"""Of a line: more than a screen shows apart."""


class Curve(msgspec.Struct, frozen=True):
    """A line through points with growing x."""

    name: str
    hue: str
    points: list[tuple[float, float]]


class Whisker(msgspec.Struct, frozen=True):
    """A bar, and how far its value is sure."""

    name: str
    hue: str
    value: float
    low: float
    high: float


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plot is drawn and what stands at its axes. Sizes are pixels of the drawing."""

    title: str
    """For those who cannot see it: say what it shows, with its figures."""
    x: Scale
    y: Scale
    x_label: str
    width: int = 350
    height: int = 210

    def at(self, x: float, y: float) -> tuple[float, float]:
        """In pixels."""
        inner_width = self.width - _LEFT - _RIGHT
        inner_height = self.height - _TOP - _BOTTOM
        return (
            round(_LEFT + inner_width * self.x.place(x), 1),
            round(_TOP + inner_height * (1 - self.y.place(y)), 1),
        )

    def draw(self, content: Iterable[str]) -> str:
        """The grid with `content` above it."""
        return svg(self.title, self.width, self.height, [*self._grid(), *content])

    def _grid(self) -> list[str]:
        left, bottom = self.at(self.x.low, self.y.low)
        right, top = self.at(self.x.high, self.y.high)
        parts = []
        for value, text in self.y.ticks:
            y = self.at(self.x.low, value)[1]
            parts.append(f'<path class="grid" d="M{left} {y}H{right}"/>')
            parts.append(label(left - 6, y + 4, text, "end"))
        end = -100.0
        for value, text in self.x.ticks:
            x = self.at(value, self.y.low)[0]
            half = 3.2 * len(text) + 4
            parts.append(f'<path class="axis" d="M{x} {bottom}v4"/>')
            if x - half >= end and x + half <= self.width:
                parts.append(label(x, bottom + 16, text, "middle"))
                end = x + half
        parts.append(f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>')
        parts.append(label((left + right) / 2, self.height - 4, self.x_label, "middle"))
        return parts


def draw_curves(frame: Frame, curves: Sequence[Curve]) -> str:
    """Each line in its hue; the second and third are dashed too."""
    parts = []
    for index, curve in enumerate(curves):
        points = " ".join(
            "{},{}".format(*frame.at(x, y)) for x, y in thinned(curve.points, _MAX_POINTS)
        )
        parts.append(
            f'<polyline class="curve {escape(curve.hue)} dash{index % 3}" points="{points}">'
            f"<title>{escape(curve.name)}</title></polyline>"
        )
    return frame.draw(parts)


def draw_histogram(frame: Frame, hue: str, edges: Sequence[float], counts: Sequence[int]) -> str:
    """`edges` are one more than `counts`."""
    bottom = frame.at(frame.x.low, frame.y.low)[1]
    path = []
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            x, y = frame.at(left, count)
            width = max(0.6, round(frame.at(right, count)[0] - x - 0.6, 1))
            path.append(f"M{x} {bottom}V{y}h{width}V{bottom}z")
    return frame.draw([f'<path class="area {escape(hue)}" d="{"".join(path)}"/>'])


def draw_bars(title: str, bars: Sequence[Whisker], unit: str, width: int = 530) -> str:
    """On one scale from zero, each with its value beside it."""
    row, left, right = 26, 130, width - 150
    top = max((max(bar.value, bar.high) for bar in bars), default=0.0)
    scale = linear_scale(0.0, top or 1.0)
    parts = []
    for index, bar in enumerate(bars):
        middle = index * row + row // 2
        end, low, high = (
            round(left + (right - left) * scale.place(value), 1)
            for value in (bar.value, bar.low, bar.high)
        )
        parts.append(label(left - 8, middle + 4, bar.name[:18], "end"))
        parts.append(
            f'<rect class="area {escape(bar.hue)}" x="{left}" y="{middle - 8}" '
            f'width="{max(1.0, round(end - left, 1))}" height="16" rx="2"/>'
        )
        if bar.high > bar.low:
            parts.append(
                f'<path class="whisker" d="M{low} {middle}H{high}M{low} {middle - 4}v8'
                f'M{high} {middle - 4}v8"/>'
            )
        text = f"{number_text(bar.value)} {unit}".strip()
        parts.append(label(max(end, high) + 8, middle + 4, text, "start", "strong"))
    return svg(title, width, len(bars) * row, parts)


def svg(title: str, width: float, height: float, content: Iterable[str]) -> str:
    """An image that scales with the page. `content` is SVG."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(content)}</svg>"
    )


def label(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    """Text at a place; `anchor` says which part of it: start, middle, end."""
    shown = f' class="{style}"' if style else ""
    return f'<text{shown} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """HTML: names and their hues, in the order of the curves."""
    return "".join(
        f'<span class="key"><svg viewBox="0 0 24 8" aria-hidden="true"><path class="curve '
        f'{escape(hue)} dash{index % 3}" d="M0 4H24"/></svg>{escape(name)}</span>'
        for index, (name, hue) in enumerate(entries)
    )


def thinned(points: Sequence[tuple[float, float]], num: int) -> list[tuple[float, float]]:
    """At most `num` of them, with the highest and the lowest of what each stands for."""
    if len(points) <= num:
        return list(points)
    size = -(-len(points) * 2 // num)
    kept: list[tuple[float, float]] = []
    for begin in range(0, len(points), size):
        part = points[begin : begin + size]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept
