"""From the rounds of a cell to what is said about it. Pure."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import msgspec

from tests.perf.gateway.cell import Cell, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def percentile(ordered: Sequence[float], at: float) -> float:
    """The smallest of the ordered values that `at` percent do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * at / 100) - 1)]


class Spread(msgspec.Struct, frozen=True):
    """The median of the rounds, and the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class CellSummary(msgspec.Struct, frozen=True):
    """All rounds of a cell. `cut` is why some of them do not count fully; "" if all do."""

    cell: Cell
    num_rounds: int
    cut: str
    us_per_token: Spread
    delay_p50_ms: Spread
    delay_p99_ms: Spread
    kb_per_stream: Spread
    share_delivered: float
    client_cpu: float
    lag_p99_ms: float
    other_cpu: float

    @property
    def has_figures(self) -> bool:
        """False if nothing at all was delivered or measured."""
        return self.us_per_token.median > 0 or self.kb_per_stream.median > 0


def summarize(results: Iterable[Result]) -> list[CellSummary]:
    """One summary for each cell, in the order of their first rounds.

    A round that was cut counts like any other if it has figures: to drop it would flatter.
    """
    rounds: dict[Cell, list[Result]] = {}
    for result in results:
        rounds.setdefault(result.cell, []).append(result)
    return [_summary(cell, of_cell) for cell, of_cell in rounds.items()]


def _summary(cell: Cell, results: Sequence[Result]) -> CellSummary:
    counting = [one for one in results if one.num_tokens or one.kb_per_stream] or results

    def spread(value: Callable[[Result], float]) -> Spread:
        return Spread.of([value(result) for result in counting])

    reasons = dict.fromkeys(result.cut for result in results if result.cut)
    num_cut = sum(bool(result.cut) for result in results)
    return CellSummary(
        cell=cell,
        num_rounds=len(results),
        cut=f"{num_cut} of {len(results)} rounds: {'; '.join(reasons)}" if reasons else "",
        us_per_token=spread(lambda one: one.server_us_per_token),
        delay_p50_ms=spread(lambda one: one.delays_ms.get("p50", 0.0)),
        delay_p99_ms=spread(lambda one: one.delays_ms.get("p99", 0.0)),
        kb_per_stream=spread(lambda one: one.kb_per_stream),
        share_delivered=spread(lambda one: one.share_delivered).median,
        client_cpu=spread(lambda one: one.client_cpu).high,
        lag_p99_ms=spread(lambda one: one.lags_ms.get("p99", 0.0)).high,
        other_cpu=spread(lambda one: one.other_cpu).median,
    )


class Comparison(msgspec.Struct, frozen=True):
    """CPU for a token event at 100 streams: one HTTP/2 connection, against HTTP/1.1 connections.

    A figure is None where the run has none.
    """

    ours_us: float | None
    stock_us: float | None
    uvicorn_us: float | None
    bare_us: float | None
    """The application alone, which is in all three."""

    @property
    def stock_ratio(self) -> float | None:
        """How many times ours stock Hypercorn costs."""
        return _ratio(self.stock_us, self.ours_us)

    @property
    def uvicorn_ratio(self) -> float | None:
        """How many times Uvicorn's ours costs."""
        return _ratio(self.ours_us, self.uvicorn_us)

    def __str__(self) -> str:
        return (
            f"kvorum h2c {_text(self.ours_us)}, hypercorn h2c {_text(self.stock_us)} "
            f"({_text(self.stock_ratio)}x ours), uvicorn http/1.1 {_text(self.uvicorn_us)} "
            f"(ours {_text(self.uvicorn_ratio)}x it), no server {_text(self.bare_us)}"
        )


class Verdict(msgspec.Struct, frozen=True):
    """The figures that one asks for first."""

    one_step: Comparison
    each_alone: Comparison
    delay_p99_ms: float | None
    delay_p99_one_step_ms: float | None
    kb_per_stream: float | None

    @classmethod
    def of(cls, summaries: Sequence[CellSummary]) -> Verdict:
        """From whatever the run has."""
        found = {_key(one.cell): one for one in summaries if one.has_figures}

        def comparison(num_phases: int) -> Comparison:
            def us(server: str, wiring: str) -> float | None:
                one = found.get(("cpu", server, wiring, 100, num_phases))
                return None if one is None else one.us_per_token.median

            return Comparison(
                ours_us=us("kvorum", "h2c"),
                stock_us=us("hypercorn", "h2c"),
                uvicorn_us=us("uvicorn", "http/1.1"),
                bare_us=us("none", "none"),
            )

        delay = found.get(("delay", "kvorum", "h2c", 1000, 20))
        one_step = found.get(("delay", "kvorum", "h2c", 1000, 1))
        memory = found.get(("memory", "kvorum", "h2c", 1000, 1))
        return cls(
            one_step=comparison(1),
            each_alone=comparison(100),
            delay_p99_ms=None if delay is None else delay.delay_p99_ms.median,
            delay_p99_one_step_ms=None if one_step is None else one_step.delay_p99_ms.median,
            kb_per_stream=None if memory is None else memory.kb_per_stream.median,
        )

    def line(self) -> str:
        """All of it in one line."""
        return (
            f"us of CPU per token event, 100 streams: each alone: {self.each_alone}; "
            f"in one step: {self.one_step} | p99 delay, 1000 streams x 5/s: "
            f"{_text(self.delay_p99_ms)} ms in 20 batches, "
            f"{_text(self.delay_p99_one_step_ms)} ms in one step | "
            f"{_text(self.kb_per_stream)} kB per waiting stream"
        )


def _key(cell: Cell) -> tuple[str, str, str, int, int]:
    return cell.kind, cell.server, cell.wiring, cell.num_streams, cell.num_phases


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None
