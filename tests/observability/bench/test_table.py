"""What people read: tables of text that fit a terminal."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.bench.figures.comparison import Comparison
from observability.bench.figures.summary import Summary
from observability.bench.figures.table import (
    comparison_table,
    number_text,
    runs_table,
    summary_table,
)
from observability.bench.run import Lateness, Run
from observability.bench.store.store import RunHeader
from tests.observability.bench.a_run import a_run


def shown(run: Run) -> str:
    text = summary_table(run, Summary.of(run))
    assert max(map(len, text.splitlines())) <= 100
    return text


def test_a_run_is_shown_in_sections() -> None:
    text = shown(a_run(num=400))
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    for title in ("Latency", "Throughput", "Requests", "Client", "Beware"):
        assert any(line.startswith(title) for line in titles), title
    assert "TTFT" in text
    assert "364 good, 36 failed" in text
    assert "steady from" in text


def test_what_spoils_a_run_is_told_at_its_end() -> None:
    run = a_run(num=15, lateness=Lateness(cpu_share=0.97, loop_p99_ms=30.0))
    run.results = [
        msgspec.structs.replace(one, num_output_tokens=None if index % 2 else 3)
        for index, one in enumerate(run.results)
    ]
    beware = " ".join(shown(run).partition("Beware")[2].split())
    for told in (
        "too busy to measure well: its busiest process used 97% of a core",
        "requests failed (1 ",
        "<b>too many</b> & more",
        "answers came without usage",
        "another number of output tokens",
        "needed are p95 20, p99 100",
        "no steady part",
    ):
        assert told in beware, told


def test_a_clean_run_has_nothing_to_beware_of() -> None:
    run = a_run(num=400)
    run.results = [
        msgspec.structs.replace(one, due_s=one.sent_s) for one in run.results if not one.error
    ]
    assert "Beware" not in shown(run)


def test_a_run_of_nothing_is_shown_too() -> None:
    assert "nothing to measure" in shown(a_run(num=0))


def test_what_is_long_or_huge_still_fits() -> None:
    run = a_run(num=150, label="a label " * 40, slow=2000.0)
    run.plan = msgspec.structs.replace(run.plan, workload="a workload\n" * 40)
    shown(run)


def test_a_comparison_is_shown_with_its_verdicts_and_warnings() -> None:
    a = [a_run(num=120, seed=seed) for seed in range(4)]
    b = [a_run(num=120, seed=seed, slow=1.5) for seed in range(4)]
    names = ("mean_tpot_ms", "steady_output_tokens_per_s", "peak_concurrency")
    for sides in ((a, b), (a[:1], b[:1])):
        text = comparison_table(Comparison.of(*sides, names))
        assert max(map(len, text.splitlines())) <= 100
        (line,) = [line for line in text.splitlines() if line.startswith("mean_tpot_ms")]
        assert line.endswith("slower")
        assert "Beware" in text
    assert "Fewer than 4 runs" in text


def test_runs_are_listed_a_line_each() -> None:
    header = RunHeader(
        id="20261201-014500-3fa9",
        label="a label",
        begun_at="2026-12-01T01:45:00Z",
        server="http://gpu-machine.example.org:8000",
        model="an-organisation/a-model-8b",
        workload="random:512,128",
        arrival="closed",
        num_requests=9,
        num_failed=0,
        duration_s=1.0,
        figures={"output_tokens_per_s": 1234.5, "p50_ttft_ms": 55.5},
    )
    text = runs_table([header, msgspec.structs.replace(header, figures={}, label="x\ny" * 30)])
    head, first, second = text.splitlines()
    assert max(map(len, (head, first, second))) <= 100
    for part in ("20261201-014500-3fa9", "12-01 01:45", "a-model-8b", "1234", "55.50"):
        assert part in first
    assert second.split()[-3:] == ["-", "-", "-"]
    assert runs_table([]) == "No runs."


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.01234, "0.012"), (9.9996, "10.00"), (99.96, "100.0"), (999.96, "1000"),
     (99_999.6, "100k"), (12_345_678, "1.2e+07")],
)  # fmt: skip
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number_text(value) == text


@given(st.floats(0, 9e6))
@settings(max_examples=200)
def test_a_short_number_is_near_the_number(value: float) -> None:
    text = number_text(value)
    assert len(text) <= 6
    scale = 1000 if text.endswith("k") else 1
    assert float(text.removesuffix("k")) * scale == pytest.approx(value, rel=0.006, abs=0.0006)
