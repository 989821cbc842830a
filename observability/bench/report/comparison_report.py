"""`report_of_comparison`: two groups of runs beside each other, as one HTML file."""

from __future__ import annotations

from html import escape
from statistics import median
from typing import TYPE_CHECKING

from observability.bench.figures.summary import Summary
from observability.bench.report.html_parts import page, plots, section, table, warning
from observability.bench.report.plot import Whisker, draw_bars
from observability.bench.report.plot_scale import number_text
from observability.bench.report.repeat_command import repeat_command
from observability.bench.report.report_plots import latency_plots, legend_of_areas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from observability.bench.figures.comparison import Comparison
    from observability.bench.figures.difference import Difference
    from observability.bench.run import Run

    Figures = Sequence[Mapping[str, float]]

_HUES = ("blue", "orange")
_STYLES = {"faster": "better", "slower": "worse"}
_MAX_PICTURES = 30
_WORDS = (
    "Bars are medians of the runs, whiskers go from the lowest to the highest run. The change is of "
    "the second against the first."
)


def report_of_comparison(runs_a: Sequence[Run], runs_b: Sequence[Run], found: Comparison) -> str:
    """`found` is what comparing the second group with the first gave. No group is empty."""
    names = _names(runs_a, runs_b)
    sides = [[Summary.of(run).figures() for run in group] for group in (runs_a, runs_b)]
    keys = legend_of_areas(zip(names, _HUES, strict=True))
    title = f"{names[0]} and {names[1]}"
    whose = f"All requests of all runs. Whole line: {names[0]}. Dashed: {names[1]}."
    return page(
        title,
        [
            f'<header><h1>{escape(title)}</h1><p class="quiet">{len(runs_a)} and {len(runs_b)} runs'
            "</p></header>",
            *(warning(text) for text in found.warnings),
            section(
                "Figures",
                f'<p class="quiet">{_WORDS}</p><div class="keys">{keys}</div>',
                plots([_bars(one, names, sides) for one in found.differences[:_MAX_PICTURES]]),
            ),
            section("In numbers", _numbers(found.differences, names)),
            section(
                "Latency",
                f'<p class="quiet">{escape(whose)}</p>',
                plots(latency_plots([(names[0], runs_a), (names[1], runs_b)])),
            ),
            section("The runs", _runs(runs_a, runs_b, names)),
            section("To repeat them", _command(runs_a[0]), _command(runs_b[0])),
        ],
    )


def _names(runs_a: Sequence[Run], runs_b: Sequence[Run]) -> tuple[str, str]:
    a, b = (next((run.label or run.id for run in group), "no run") for group in (runs_a, runs_b))
    return (a, b) if a != b else (f"{a} (first)", f"{b} (second)")


def _bars(one: Difference, names: tuple[str, str], sides: Sequence[Figures]) -> str:
    bars = []
    for name, hue, figures in zip(names, _HUES, sides, strict=True):
        values = [figure[one.name] for figure in figures if one.name in figure]
        if values:
            bars.append(Whisker(name, hue, median(values), min(values), max(values)))
    said = "; ".join(f"{bar.name} {number_text(bar.value)}" for bar in bars)
    verdict = f'<span class="{_STYLES.get(one.verdict, "quiet")}">{escape(str(one.verdict))}</span>'
    return (
        f'<figure class="half"><figcaption>{escape(one.name)} {verdict}</figcaption>'
        f"{draw_bars(f'{one.name}: {said}', bars, '')}</figure>"
    )


def _numbers(differences: Sequence[Difference], names: tuple[str, str]) -> str:
    return table(
        ["", *names, "change", "between", "p", "verdict"],
        [
            [
                one.name,
                "–" if one.a is None else number_text(one.a),
                "–" if one.b is None else number_text(one.b),
                _change(one.ratio),
                "–"
                if one.interval is None
                else f"{_change(one.interval.low)} and {_change(one.interval.high)}",
                "–" if one.p_value is None else f"{one.p_value:.3f}",
                str(one.verdict),
            ]
            for one in differences
        ],
    )


def _change(ratio: float | None) -> str:
    return "–" if ratio is None else f"{(ratio - 1) * 100:+.1f} %"


def _runs(runs_a: Sequence[Run], runs_b: Sequence[Run], names: tuple[str, str]) -> str:
    return table(
        ["run", "of", "model", "workload", "arrival", "requests", "failed", "commit", "machine"],
        [
            [
                run.id,
                name,
                run.plan.target.model,
                run.plan.workload,
                run.plan.arrival,
                str(len(run.results)),
                str(sum(1 for one in run.results if one.error)),
                run.versions.get("commit", "–"),
                f"{run.machine.num_cores} cores, {run.machine.cpu}",
            ]
            for name, group in zip(names, (runs_a, runs_b), strict=True)
            for run in group
        ],
        is_text=True,
    )


def _command(run: Run) -> str:
    return f'<div class="card"><pre>{escape(repeat_command(run.plan))}</pre></div>'
