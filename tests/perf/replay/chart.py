"""Draws curves over the size of a cache as one self-contained SVG, for light and dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

# Pixels.
_WIDTH = 900
_HEIGHT = 470
_MARGIN = 28
_LEFT = 78
_RIGHT = 860
_TOP = 118
_BOTTOM = 384
_STEP = 0.1
"""Between two lines of the grid, as a rate."""

_STYLE = """
text{font-family:ui-sans-serif,-apple-system,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif;font-size:13px;fill:#1f2430}
.title{font-size:17px;font-weight:600}.strong{font-weight:600}.quiet{fill:#667085}.small{font-size:12px}
.card{fill:#ffffff;stroke:#d9dee7}.grid{stroke:#e3e7ee}.axis{stroke:#c3cad6}
.curve{fill:none;stroke-width:2}.kvorum{stroke:#7c5cd6}.lru{stroke:#8a94a6;stroke-dasharray:2 4}.oracle{stroke:#2da862;stroke-dasharray:7 5}
.dot{fill:#7c5cd6}
@media (prefers-color-scheme:dark){text{fill:#e6e9ef}.quiet{fill:#98a2b3}
.card{fill:#12161d;stroke:#2c3442}.grid{stroke:#262d39}.axis{stroke:#3a4454}
.kvorum{stroke:#a58bf5}.lru{stroke:#77839a}.oracle{stroke:#4cc983}.dot{fill:#a58bf5}}
"""


class ChartPoint(msgspec.Struct, frozen=True):
    """One size of the cache, as it is called, and the rates (0 to 1) at it."""

    size: str
    hit_rate: float
    lru_rate: float


class Chart(msgspec.Struct, frozen=True):
    """Points from the smallest cache to the largest, each the same distance from the next."""

    title: str
    subtitle: str
    points: list[ChartPoint]
    oracle_rate: float
    foot: str

    def draw(self) -> str:
        """The chart as SVG text."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-labelledby="title">',
            f'<title id="title">{escape(self._spoken())}</title>',
            f"<style>{_STYLE}</style>",
            f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="12"/>',
            _label(_MARGIN, 38, self.title, "title"),
            _label(_MARGIN, 60, self.subtitle, "quiet"),
            *self._legend(),
            *self._grid(),
            self._level("oracle", self.oracle_rate),
            self._curve("lru", [point.lru_rate for point in self.points]),
            self._curve("kvorum", [point.hit_rate for point in self.points]),
            *self._dots(),
            _label(
                (_LEFT + _RIGHT) / 2,
                _BOTTOM + 44,
                "tokens that fit into the cache",
                "quiet",
                "middle",
            ),
            _label(_MARGIN, _HEIGHT - 16, self.foot, "quiet small"),
        ]
        return "\n".join([*parts, "</svg>"]) + "\n"

    def _legend(self) -> list[str]:
        entries = [
            ("kvorum", "Kvorum's scheduler and prefix cache", _LEFT),
            ("lru", "LRU, requests take no time", 378),
            ("oracle", f"oracle, nothing forgotten: {self.oracle_rate:.1%}", 620),
        ]
        return [
            part
            for hue, text, x in entries
            for part in (
                f'<path class="curve {hue}" d="M{x} 87h26"/>',
                _label(x + 34, 91, text, "small"),
            )
        ]

    def _grid(self) -> list[str]:
        parts = []
        for index in range(self._num_lines):
            y = self._y(index * _STEP)
            style = "grid" if index else "axis"
            parts.append(f'<path class="{style}" d="M{_LEFT} {y}H{_RIGHT}"/>')
            parts.append(_label(_LEFT - 10, y + 4, f"{index * _STEP:.0%}", "quiet small", "end"))
        for index, point in enumerate(self.points):
            parts.append(_label(self._x(index), _BOTTOM + 20, point.size, "small", "middle"))
        return parts

    def _curve(self, hue: str, rates: Sequence[float]) -> str:
        places = " ".join(f"{self._x(index)},{self._y(rate)}" for index, rate in enumerate(rates))
        return f'<polyline class="curve {hue}" points="{places}"/>'

    def _level(self, hue: str, rate: float) -> str:
        return f'<path class="curve {hue}" d="M{_LEFT} {self._y(rate)}H{_RIGHT}"/>'

    def _dots(self) -> list[str]:
        parts = []
        for index, point in enumerate(self.points):
            x, y = self._x(index), self._y(point.hit_rate)
            parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="4"/>')
            parts.append(_label(x + 6, y + 18, f"{point.hit_rate:.1%}", "strong small"))
        return parts

    @property
    def _num_lines(self) -> int:
        highest = max([self.oracle_rate, *(point.lru_rate for point in self.points)])
        return int(highest / _STEP) + 2

    def _x(self, index: int) -> float:
        inner = _RIGHT - _LEFT - 80
        return round(_LEFT + 30 + inner * index / max(len(self.points) - 1, 1), 1)

    def _y(self, rate: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * rate / ((self._num_lines - 1) * _STEP), 1)

    def _spoken(self) -> str:
        said = "; ".join(f"{point.size}: {point.hit_rate:.1%}" for point in self.points)
        return f"{self.title}. {said}. Oracle: {self.oracle_rate:.1%}"


def _label(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
