"""`report_of`: one run as one HTML file, which opens from a disk and needs nothing else."""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from observability.bench.report.html_parts import folded, page, plots, section, table, warning
from observability.bench.report.plot_scale import number_text
from observability.bench.report.repeat_command import repeat_command
from observability.bench.report.report_plots import (
    histograms,
    latency_plots,
    load_plots,
    sampled_plots,
    series_by_name,
    timeline,
)
from observability.bench.store.run_rows import without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from observability.bench.figures.interval import Interval
    from observability.bench.run import Run

_TILES = (
    ("output_tokens_per_s", "Output tokens", "per s"),
    ("requests_per_s", "Requests", "per s"),
    ("goodput_per_s", "Met the objective", "per s"),
    ("p50_ttft_ms", "TTFT, median", "ms"),
    ("p99_ttft_ms", "TTFT, p99", "ms"),
    ("p50_itl_ms", "ITL, median", "ms"),
    ("p99_itl_ms", "ITL, p99", "ms"),
    ("p50_e2e_ms", "E2E, median", "ms"),
    ("p99_e2e_ms", "E2E, p99", "ms"),
)
_SPREAD = re.compile(r"(mean|std|min|max|p\d+)_(.+_ms)")
_ROWS = {
    "ttft_ms": "TTFT, ms",
    "ttfot_ms": "TTFT without reasoning, ms",
    "itl_ms": "ITL, ms",
    "tpot_ms": "TPOT, ms",
    "e2e_ms": "E2E, ms",
    "queued_ms": "Waited in the client, ms",
}
_MAX_ROWS = 200
_SURE_WORDS = "Small print: where the figure lies with 95 % certainty, as far as one run can tell."
_LATENCY_WORDS = (
    "TTFT: from when a request was due to its first token. ITL: between tokens of one request. "
    "E2E: from due to the last byte. TPOT: the mean time for a token after the first. Failed requests "
    "are left out."
)


def report_of(
    run: Run,
    figures: Mapping[str, float],
    interval_of: Callable[[str], Interval | None] = lambda _: None,
) -> str:
    """`figures` and `interval_of` are the methods of the run's `Summary`."""
    title = f"{run.label or run.id} · {run.plan.target.model}"
    return page(
        title,
        [
            _head(run, title),
            *_warnings(run),
            _tiles(figures, interval_of),
            section("Latency", f'<p class="quiet">{_LATENCY_WORDS}</p>', _latencies(run)),
            section("Percentiles", spread_table(figures)),
            section("Load", plots([*load_plots(run), timeline(run)] if run.results else [])),
            section("Errors", _errors(run)),
            section("Beside the load", plots(sampled_plots(run)), _series(run)),
            section("All figures", folded("Each figure by its name", _all_figures(figures))),
            section("What was measured, and on what", _facts(run)),
            section(
                "To repeat it",
                f'<div class="card"><pre>{escape(repeat_command(run.plan))}</pre></div>',
            ),
        ],
    )


def spread_table(figures: Mapping[str, float]) -> str:
    """A row for each latency, a column for each percentile that there is."""
    rows: dict[str, dict[str, str]] = {}
    for name, value in figures.items():
        if found := _SPREAD.fullmatch(name):
            rows.setdefault(found[2], {})[found[1]] = number_text(value)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    return table(
        ["", *columns],
        [
            [_ROWS.get(metric, metric), *(row.get(one, "–") for one in columns)]
            for metric, row in rows.items()
        ],
    )


def _head(run: Run, title: str) -> str:
    plan = run.plan
    num_failed = sum(1 for one in run.results if one.error)
    failed = f", {num_failed} failed" if num_failed else ", none failed"
    said = (
        f"{plan.workload} · {plan.arrival} · {len(run.results)} requests{failed} in "
        f"{run.duration_s:.1f} s · {plan.target.endpoint} over {plan.target.protocol} at "
        f"{without_password(plan.target.url)} · {run.begun_at} · run {run.id}"
    )
    return f'<header><h1>{escape(title)}</h1><p class="quiet">{escape(said)}</p></header>'


def _warnings(run: Run) -> Iterable[str]:
    lateness = run.lateness
    if not lateness.is_trustworthy:
        yield warning(
            "The client was too busy: its event loop was late by "
            f"{lateness.loop_p99_ms:.1f} ms (p99), it sent late by {lateness.send_p99_ms:.1f} ms "
            f"(p99), and its busiest process took {lateness.cpu_share:.0%} of a core. The server is "
            "better than these figures say; repeat with more --processes."
        )
    num_failed = sum(1 for one in run.results if one.error)
    if num_failed * 100 > len(run.results):
        yield warning(
            f"{num_failed} of {len(run.results)} requests failed: latencies are of the others only."
        )


def _tiles(figures: Mapping[str, float], interval_of: Callable[[str], Interval | None]) -> str:
    tiles = []
    for name, words, unit in _TILES:
        if name not in figures:
            continue
        sure = _interval_text(interval_of(name))
        tiles.append(
            f'<div class="tile"><div class="name">{words}</div><div class="value">'
            f'{number_text(figures[name])} <span class="unit">{unit}</span></div>'
            f'<div class="sure">{sure}</div></div>'
        )
    if not tiles:
        return ""
    said = f'<p class="quiet">{_SURE_WORDS}</p>' if any(map(interval_of, figures)) else ""
    return f'<div class="tiles">{"".join(tiles)}</div>{said}'


def _interval_text(interval: Interval | None) -> str:
    low = None if interval is None else interval.low
    high = None if interval is None else interval.high
    if low is not None and high is not None:
        return f"{number_text(low)} to {number_text(high)}"
    if low is not None:
        return f"{number_text(low)} or more"
    return "" if high is None else f"up to {number_text(high)}"


def _latencies(run: Run) -> str:
    return plots([*latency_plots([("", [run])]), *histograms(run)])


def _errors(run: Run) -> str:
    counts = Counter(one.error for one in run.results if one.error)
    details = {one.error: one.detail for one in reversed(run.results) if one.detail}
    return table(
        ["kind", "requests", "the first of them says"],
        [[kind, str(num), details.get(kind, "")] for kind, num in counts.most_common(_MAX_ROWS)],
        is_text=True,
    )


def _series(run: Run) -> str:
    rows = []
    for name, points in series_by_name(run.samples).items():
        values = [value for _, value in points]
        numbers = (values[0], values[-1], values[-1] - values[0], min(values), max(values))
        rows.append([name, *(number_text(number) for number in numbers)])
    head = ["series", "first", "last", "change", "lowest", "highest"]
    more = f", {_MAX_ROWS} shown" if len(rows) > _MAX_ROWS else ""
    return folded(f"Each of {len(rows)} series{more}", table(head, rows[:_MAX_ROWS]))


def _all_figures(figures: Mapping[str, float]) -> str:
    return table(["figure", "value"], [[name, f"{value:.6g}"] for name, value in figures.items()])


def _facts(run: Run) -> str:
    plan, machine = run.plan, run.machine
    objective = ", ".join(f"{name} {limit:g} ms" for name, limit in plan.objective.items())
    rows = [
        ["Model", plan.target.model],
        ["Workload", f"{plan.workload}, seed {plan.seed}"],
        ["Arrival", f"{plan.arrival}, {_bound(plan.max_concurrency)}"],
        ["Requests", f"{plan.num_requests} sessions, after {plan.num_warmup} to warm up"],
        ["Objective", objective or "none"],
        [
            "Fields of each request",
            ", ".join(f"{key}: {value}" for key, value in plan.target.body.items()) or "none",
        ],
        [
            "Client",
            f"{plan.num_processes} processes; event loop late by {run.lateness.loop_p99_ms:.2f} ms "
            f"(p99), sent late by {run.lateness.send_p99_ms:.2f} ms (p99), busiest process "
            f"{run.lateness.cpu_share:.0%} of a core",
        ],
        [
            "Client's machine",
            f"{machine.num_cores} cores ({machine.cpu}), {machine.memory_gb:g} GB",
        ],
        ["System", f"{machine.system}, Python {machine.python}"],
        ["GPUs", "; ".join(machine.gpus) or "none"],
        *(
            [f"Version of {name}" if name != "commit" else "Commit", text]
            for name, text in run.versions.items()
        ),
    ]
    return table([], rows, is_text=True)


def _bound(max_concurrency: int | None) -> str:
    return "no bound" if max_concurrency is None else f"at most {max_concurrency} at once"
