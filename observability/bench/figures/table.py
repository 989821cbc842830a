"""Tables of text: one run, a list of runs, a comparison. Pure; at most 100 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from observability.bench.figures.caution import cautions
from observability.bench.figures.latencies import LATENCIES
from observability.bench.figures.throughput import RATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from observability.bench.figures.comparison import Comparison
    from observability.bench.figures.difference import Difference
    from observability.bench.figures.distribution import Distribution
    from observability.bench.figures.interval import Interval
    from observability.bench.figures.summary import Summary
    from observability.bench.figures.throughput import Throughput
    from observability.bench.run import Run
    from observability.bench.store.store import RunHeader

WIDTH = 100
_UNKNOWN = "-"
_LATENCY_NAMES = {
    "ttft": "TTFT",
    "ttfot": "TTFOT",
    "itl": "ITL",
    "tpot": "TPOT",
    "e2e": "E2E",
    "queued": "queued",
}
_LISTED = {"output_tokens_per_s": "tok/s", "p50_ttft_ms": "TTFT50", "p99_itl_ms": "ITL99"}
_LISTED_WIDTHS = (20, 11, 10, 18, 12)
_NUMBER_WIDTH = 7
_SURE = ("mean", "p50", "p90", "p95", "p99")
_METHODS = {
    "splits": "permutation test over the runs, adjusted for the number of figures",
    "pairs": "permutation test over pairs of runs, adjusted for the number of figures",
    "requests": "by the requests inside the runs only",
}


def summary_table(run: Run, summary: Summary) -> str:
    """One run: what was measured, sections, cautions."""
    target, plan = run.plan.target, run.plan
    head = [
        _cut(f"{run.id}  {run.label}".rstrip(), WIDTH),
        _cut(f"{target.model} at {target.url}  {target.endpoint}, {target.protocol}", WIDTH),
        _cut(f"{plan.workload}  {plan.arrival}{_at_most(plan.max_concurrency)}", WIDTH),
    ]
    sections = [
        "\n".join(head),
        _latency_section(summary),
        _throughput_section(summary),
        _request_section(summary),
        _client_section(run, summary),
        _notes("Beware", cautions(run, summary)),
    ]
    return "\n\n".join(section for section in sections if section)


def comparison_table(comparison: Comparison) -> str:
    """A figure a line, then what to beware of."""
    sizes = f"A: {_runs(comparison.num_a)}, B: {_runs(comparison.num_b)}"
    head = f"{sizes}; {_METHODS[comparison.method]}"
    rows = [["", "A", "B", "B/A", "95 %", "p", "B is"]]
    rows += [_difference_row(one) for one in comparison.differences]
    sections = [head, _aligned(rows, last_is_text=True), _notes("Beware", comparison.warnings)]
    return "\n\n".join(section for section in sections if section)


def runs_table(headers: Sequence[RunHeader]) -> str:
    """A run a line, in the order given. Latencies are in ms."""
    if not headers:
        return "No runs."
    rows = [_runs_line(("run", "begun", "label", "server/model", "workload"), _LISTED.values())]
    for one in headers:
        server = one.server.partition("//")[2] or one.server
        begun = one.begun_at[5:16].replace("T", " ")
        texts = (one.id, begun, one.label, f"{server}/{one.model}", one.workload)
        rows.append(_runs_line(texts, [number_text(one.figures.get(name)) for name in _LISTED]))
    return "\n".join(rows)


def number_text(value: float | None) -> str:
    """With three or four digits that count, and at most six characters up to a million."""
    if value is None:
        return _UNKNOWN
    size = abs(value)
    if not size:
        return "0"
    if size >= 99_999.5:
        return f"{value / 1000:.0f}k" if size < 9_999_500 else f"{value:.1e}"
    digits = 0 if size >= 999.5 else 1 if size >= 99.95 else 2 if size >= 9.995 else 3
    return f"{value:.{digits}f}"


def interval_text(interval: Interval | None) -> str:
    """ "?" is an end that is not known."""
    if interval is None or (interval.low is None and interval.high is None):
        return ""
    ends = ["?" if end is None else number_text(end) for end in (interval.low, interval.high)]
    return f"[{ends[0]}, {ends[1]}]"


def _latency_section(summary: Summary) -> str:
    rows = [["ms", *_SURE, "max", "n"]]
    for name in LATENCIES:
        distribution: Distribution | None = getattr(summary, name)
        if distribution is None:
            continue
        values = [getattr(distribution, statistic) for statistic in (*_SURE, "max")]
        rows.append([_LATENCY_NAMES[name], *map(number_text, values), _count(distribution.n)])
        limits = [interval_text(distribution.intervals.get(statistic)) for statistic in _SURE]
        if any(limits):
            rows.append(["", *limits, "", ""])
    if len(rows) == 1:
        return ""
    title = f"Latency [with 95 % sureness between; {_UNKNOWN} and ? are not known]"
    return f"{title}\n{_aligned(rows, gap=1)}"


def _throughput_section(summary: Summary) -> str:
    if summary.throughput is None:
        return ""
    rows = [["Throughput per s", "whole run", "95 %", "steady part", "95 %"]]
    for name in RATES:
        cells: list[str] = []
        for prefix, part in (("", summary.throughput), ("steady_", summary.steady)):
            cells.append(number_text(_rate(part, name)))
            cells.append(interval_text(summary.interval(f"{prefix}{name}")))
        rows.append([name.removesuffix("_per_s").replace("_", " "), *cells])
    rows.append(["tokens of each user", number_text(summary.tokens_per_s_per_user), "", "", ""])
    goodput = summary.goodput
    if goodput is not None:
        limits = interval_text(summary.interval("goodput_per_s"))
        rows.append(["goodput (requests)", number_text(goodput.per_s), limits, "", ""])
    window = summary.window
    if window is None:
        return _aligned(rows)
    return f"{_aligned(rows)}\nsteady from {window.begin_s:.2f} s to {window.end_s:.2f} s"


def _request_section(summary: Summary) -> str:
    num_failed = summary.num_requests - summary.num_good
    said = [
        f"{summary.num_good} good, {num_failed} failed in {number_text(summary.duration_s)} s",
        f"in flight {number_text(summary.mean_concurrency)} in the mean, "
        f"{summary.peak_concurrency} at most",
    ]
    if summary.goodput is not None:
        said.append(
            f"objective met by {summary.goodput.num_met} of {summary.num_requests} "
            f"({summary.goodput.share:.1%})"
        )
    if summary.cached_share is not None:
        said.append(f"{summary.cached_share:.1%} of prompt tokens from the cache")
    return _notes("Requests", said)


def _client_section(run: Run, summary: Summary) -> str:
    late = run.lateness
    said = [
        f"timers {number_text(late.loop_p99_ms)} ms late (p99), sending "
        f"{number_text(late.send_p99_ms)} ms, busiest process {late.cpu_share:.0%} of a core"
    ]
    if summary.asked_rate_per_s is not None:
        said.append(
            f"{number_text(summary.asked_rate_per_s)} sessions/s asked for, "
            f"{number_text(summary.sent_rate_per_s)} sent"
        )
    return _notes("Client", said)


def _difference_row(one: Difference) -> list[str]:
    return [
        one.name,
        number_text(one.a),
        number_text(one.b),
        number_text(one.ratio),
        interval_text(one.interval),
        _UNKNOWN if one.p_value is None else f"{one.p_value:.2g}",
        str(one.verdict),
    ]


def _runs_line(texts: Sequence[str], numbers: Iterable[str]) -> str:
    cells = []
    for index, (text, width) in enumerate(zip(texts, _LISTED_WIDTHS, strict=True)):
        cut = _cut(text, width, at_begin=index == 3)  # of server/model the end tells more
        cells.append(cut.ljust(width))
    line = "  ".join(cells)
    return line + "".join(number.rjust(_NUMBER_WIDTH) for number in numbers)


def _aligned(rows: Sequence[Sequence[str]], *, last_is_text: bool = False, gap: int = 2) -> str:
    """The first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        if last_is_text:
            cells[-1] = row[-1]
        lines.append((" " * gap).join(cells).rstrip())
    return "\n".join(lines)


def _notes(title: str, said: Sequence[str]) -> str:
    if not said:
        return ""
    lines = [title]
    for one in said:
        lines += textwrap.wrap(one, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _rate(throughput: Throughput | None, name: str) -> float | None:
    value: float | None = getattr(throughput, name, None)
    return value


def _count(num: int) -> str:
    return str(num) if num < 100_000 else number_text(num)


def _runs(num: int) -> str:
    return f"{num} run" if num == 1 else f"{num} runs"


def _at_most(num: int | None) -> str:
    return "" if num is None else f", at most {num} at once"


def _cut(text: str, width: int, *, at_begin: bool = False) -> str:
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    return f"…{text[1 - width :]}" if at_begin else f"{text[: width - 1]}…"
