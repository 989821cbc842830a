"""Fills docs/prefix-cache.md and draws its picture from stored replays. Everything else is prose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.perf.replay.chart import Chart, ChartPoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.perf.replay.replay import ReplayResult
    from tests.perf.replay.run_record import ReplayRecord

_DOCS = Path(__file__).parents[3] / "docs"
_PAGE = _DOCS / "prefix-cache.md"
_PICTURE = _DOCS / "prefix-cache-hit-rate.svg"
_BEGIN = "<!-- replay figures: written by tests.perf.replay -->"
_END = "<!-- end of the replay figures -->"


def write_docs(record: ReplayRecord) -> None:
    """Replace what stands between the marks of the page, and the picture."""
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError(f"docs/{_PAGE.name} has lost the marks that the figures stand between")
    figures = "\n".join(figures_of(record))
    _PAGE.write_text(f"{before}{_BEGIN}\n{figures}\n{_END}{after}")
    _PICTURE.write_text(chart_of(record).draw())


def figures_of(record: ReplayRecord) -> list[str]:
    """The lines of the part that is generated."""
    machine = record.machine
    lines = [
        f"![Hit rate against the size of the cache]({_PICTURE.name})",
        "",
        f"Measured {record.date} at commit {record.commit}, {machine.num_cores} cores ({machine.cpu}, "
        f"{machine.memory_gb:g} GB, {machine.system}), Python {machine.python}; {record.wall_s:.0f} s "
        "of scheduling.",
    ]
    for name in dict.fromkeys(result.trace for result in record.results):
        lines += ["", *_section([result for result in record.results if result.trace == name])]
    return lines


def chart_of(record: ReplayRecord) -> Chart:
    """The hit rates of the trace that has content."""
    results = _by_size([result for result in record.results if result.has_content])
    largest = results[-1]
    machine = record.machine
    return Chart(
        title="How much of the prompts the prefix cache saves",
        subtitle=f"{largest.trace} trace, {_count(largest.num_requests)} requests, "
        f"{_million(largest.num_prompt_tokens * largest.scale)} prompt tokens. "
        "Share of prompt tokens found in the cache.",
        points=[ChartPoint(size_text(one), one.hit_rate, one.lru_rate) for one in results],
        oracle_rate=largest.oracle_rate,
        foot=f"Virtual time, no model; {_scale_text(largest)}, blocks of {largest.block_size} "
        f"tokens. Python {machine.python}, {record.date}.",
    )


def verdict(record: ReplayRecord) -> str:
    """The result in one line."""
    said = []
    for result in record.results:
        if result.is_unbounded:
            points = abs(result.hit_rate - result.oracle_rate) * 100
            said.append(
                f"{result.trace}, unbounded: {result.hit_rate:.2%} of prompt tokens cached, "
                f"oracle {result.oracle_rate:.2%}, {points:.2f} points apart"
            )
    return "; ".join(said)


def size_text(result: ReplayResult) -> str:
    """The cache's size in a few letters."""
    if result.is_unbounded:
        return "no bound"
    tokens = result.cache_tokens
    return f"{tokens >> 20} Mi" if tokens >= 1 << 20 else f"{tokens >> 10} Ki"


def _section(results: Sequence[ReplayResult]) -> list[str]:
    ordered = _by_size(results)
    one = ordered[-1]
    speed = one.speed
    return [
        f"### {one.trace}",
        "",
        f"{_count(one.num_requests)} requests in {_count(round(one.trace_s))} s, "
        f"{_million(one.num_prompt_tokens * one.scale)} prompt tokens and "
        f"{_million(one.num_output_tokens * one.scale)} answer tokens; {_scale_text(one)}, blocks of "
        f"{one.block_size} tokens. A step takes {speed.step_ms:g} ms and 1 s for each "
        f"{_count(round(speed.tokens_per_s))} tokens; at most {_count(speed.max_batch_tokens)} tokens "
        f"and {speed.max_running} sequences.",
        "",
        "| cache, tokens | hit rate | LRU, no time | oracle, no bound | running, mean "
        "| queue p50 / p99, s | preemptions | done after, s | steps | run, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *[_row(result) for result in ordered],
    ]


def _row(one: ReplayResult) -> str:
    cells = [
        size_text(one),
        f"**{one.hit_rate:.2%}**",
        f"{one.lru_rate:.2%}",
        f"{one.oracle_rate:.2%}",
        f"{one.mean_running:.1f}",
        f"{one.queue_p50_s:.1f} / {one.queue_p99_s:.1f}",
        _count(one.num_preemptions),
        _count(round(one.virtual_s)),
        _count(one.num_steps),
        f"{one.wall_s:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _by_size(results: Sequence[ReplayResult]) -> list[ReplayResult]:
    return sorted(results, key=lambda one: (one.is_unbounded, one.num_blocks))


def _scale_text(result: ReplayResult) -> str:
    return "full scale" if result.scale == 1 else f"one token for {result.scale}"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _million(number: int) -> str:
    return f"{number / 1e6:.1f} M"
