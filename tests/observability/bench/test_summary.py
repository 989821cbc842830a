"""What a run's figures are: small runs by hand, and what holds for every run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.bench.errors import WrongOption
from observability.bench.figures.distribution import Distribution, is_known
from observability.bench.figures.figure import NAMES, figure_named, is_more_better
from observability.bench.figures.in_flight import InFlight
from observability.bench.figures.objective import is_met, objective_of
from observability.bench.figures.steady_window import SteadyWindow
from observability.bench.figures.summary import Summary
from observability.bench.measured import Measured
from tests.observability.bench.a_run import a_run

if TYPE_CHECKING:
    from random import Random

    from observability.bench.run import Run

GOOD = Measured(
    session=0,
    turn=0,
    due_s=0.0,
    sent_s=0.05,
    arrivals_s=[0.1, 0.2, 0.4],
    first_answer_s=0.2,
    end_s=0.45,
    num_prompt_tokens=10,
    num_output_tokens=7,
    num_cached_tokens=4,
    num_asked_tokens=7,
)


def a_result(**more: object) -> Measured:
    return msgspec.structs.replace(GOOD, **more)


def a_run_of(results: list[Measured], *, objective: str = "", arrival: str = "poisson:5") -> Run:
    run = a_run(num=0)
    run.results = results
    run.duration_s = max((one.end_s for one in results), default=0.0)
    run.plan = msgspec.structs.replace(run.plan, objective=objective_of(objective), arrival=arrival)
    return run


def closed_loop(num_at_once: int, num_each: int, *, step_s: float = 1.0) -> list[Measured]:
    """Requests that take `step_s`, follow each other without a pause and bring ten tokens."""
    return [
        a_result(
            session=index,
            due_s=turn * step_s,
            sent_s=turn * step_s,
            arrivals_s=[turn * step_s + step_s * (part + 1) / 10 for part in range(10)],
            first_answer_s=None,
            end_s=(turn + 1) * step_s,
            num_output_tokens=10,
            num_asked_tokens=10,
        )
        for index in range(num_at_once)
        for turn in range(num_each)
    ]


def test_latencies_of_one_request_are_as_by_hand() -> None:
    summary = Summary.of(a_run_of([GOOD]))
    means = {name: summary.figures()[f"mean_{name}_ms"] for name in ("ttft", "ttfot", "e2e")}
    assert means == pytest.approx({"ttft": 100, "ttfot": 200, "e2e": 450})
    assert summary.figures()["mean_queued_ms"] == pytest.approx(50)
    assert summary.figures()["mean_tpot_ms"] == pytest.approx(300 / 6)
    assert summary.itl is not None
    assert (summary.itl.n, summary.itl.min, summary.itl.max) == pytest.approx((2, 100, 200))
    assert summary.tokens_per_s_per_user == pytest.approx(6 / 0.3)


def test_throughput_and_shares_are_as_by_hand() -> None:
    late = a_result(session=1, due_s=0.5, sent_s=0.6, arrivals_s=[0.7, 1.6], end_s=2.0)
    failed = a_result(session=2, due_s=0.3, sent_s=0.3, end_s=0.8, error="http 429", arrivals_s=[])
    silent = a_result(
        session=3, due_s=1.0, sent_s=1.0, end_s=1.5, num_output_tokens=None, arrivals_s=[1.2]
    )
    short = a_result(
        session=4, due_s=1.25, sent_s=1.35, arrivals_s=[1.4], end_s=1.4, num_output_tokens=1
    )
    summary = Summary.of(
        a_run_of([GOOD, late, failed, silent, short], objective="ttft:201,e2e:1000")
    )
    figures = summary.figures()
    expected = {
        "requests_per_s": 4 / 2,
        "output_tokens_per_s": (7 + 7 + 1) / 2,
        "input_tokens_per_s": 40 / 2,
        "total_tokens_per_s": 55 / 2,
        "error_rate": 1 / 5,
        "cached_share": 16 / 40,
        "missing_usage_share": 1 / 4,
        "wrong_length_share": 1 / 4,
        "goodput_per_s": 3 / 2,
        "goodput_share": 3 / 5,
        "mean_concurrency": (0.4 + 1.4 + 0.5 + 0.5 + 0.05) / 2,
        "peak_concurrency": 3,
        "asked_rate_per_s": 4 / 1.25,
        "sent_rate_per_s": 4 / 1.3,
    }
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert summary.errors == {"http 429": 1}


def test_a_run_of_nothing_has_no_figures_that_are_not_known() -> None:
    figures = Summary.of(a_run_of([])).figures()
    assert set(figures) == {"duration_s", "mean_concurrency", "peak_concurrency"}


def test_tokens_that_came_together_have_no_time_between_them() -> None:
    at_once = a_result(arrivals_s=[0.3], num_output_tokens=7)
    figures = Summary.of(a_run_of([at_once])).figures()
    assert "mean_tpot_ms" not in figures
    assert "mean_itl_ms" not in figures
    assert "tokens_per_s_per_user" not in figures


def test_what_was_not_streamed_has_an_end_and_tokens_but_no_first_text() -> None:
    whole = a_result(arrivals_s=[], first_answer_s=None)
    summary = Summary.of(a_run_of([whole], objective="ttft:440"))
    assert summary.ttft is None
    assert summary.figures()["output_tokens_per_s"] == pytest.approx(7 / 0.45)
    assert summary.goodput is not None
    assert summary.goodput.num_met == 0  # its first text was seen at its end


def test_without_usage_no_token_is_counted() -> None:
    figures = Summary.of(a_run_of([a_result(num_output_tokens=None)], objective="tpot:1")).figures()
    assert "output_tokens_per_s" not in figures
    assert "goodput_per_s" not in figures  # nothing can tell
    assert figures["mean_itl_ms"] == pytest.approx(150)


def test_the_steady_part_of_a_closed_loop_lacks_its_first_wave_and_its_tail() -> None:
    tail = a_result(sent_s=20.0, due_s=20.0, arrivals_s=[39.0], end_s=40.0)
    summary = Summary.of(a_run_of([*closed_loop(10, 20), tail], arrival="closed"))
    assert summary.window == SteadyWindow(begin_s=1.0, end_s=20.0)
    assert summary.steady is not None
    assert summary.steady.output_tokens_per_s == pytest.approx(10 * 10)
    assert summary.steady.requests_per_s == pytest.approx(10)
    assert summary.figures()["output_tokens_per_s"] == pytest.approx((2000 + 7) / 40)
    assert summary.asked_rate_per_s is None


def test_a_chunk_with_several_tokens_counts_as_all_of_them_in_the_steady_part() -> None:
    by_two = [
        msgspec.structs.replace(one, arrivals_s=one.arrivals_s[1::2]) for one in closed_loop(10, 20)
    ]
    steady = Summary.of(a_run_of(by_two)).steady
    assert steady is not None
    assert steady.output_tokens_per_s == pytest.approx(100)


def spread(times_s: list[float], takes_s: float) -> list[Measured]:
    return [a_result(sent_s=at, end_s=at + takes_s, arrivals_s=[at + takes_s]) for at in times_s]


def test_arrivals_at_a_rate_are_steady_from_the_first_end_until_they_stop() -> None:
    for seed in range(20):
        gaps_s = np.random.default_rng(seed).exponential(0.1, 400)
        window = SteadyWindow.of(spread(np.cumsum(gaps_s).tolist(), 2.0))
        assert window is not None
        assert window.begin_s < 6
        assert window.end_s > float(gaps_s.sum()) - 6


@pytest.mark.parametrize(
    "results",
    [
        spread([0.0] * 50, 3.0),
        [one for index in range(50) for one in spread([0.0], 1.0 + index)],
        spread([math.sqrt(index) for index in range(2000)], 1.0),
        [one for index in range(1000) for one in spread([index / 10], 1.0 + index / 12)],
        spread([0.0, 1.0, 2.0], 1.0),
        [a_result(error="timeout")] * 30,
        [],
    ],
    ids=["burst", "draining", "ramp", "overload", "few", "all failed", "nothing"],
)
def test_no_part_is_called_steady_where_the_load_rises_or_falls(results: list[Measured]) -> None:
    assert SteadyWindow.of(results) is None


def test_one_that_ends_as_another_begins_is_no_second_at_once() -> None:
    in_flight = InFlight(closed_loop(3, 5))
    assert in_flight.peak == 3
    assert in_flight.mean(0.0, 10.0) == pytest.approx(1.5)
    assert in_flight.median(0.0, 5.0) == 3


@pytest.mark.parametrize(
    ("num", "known"),
    [
        (1, ()),
        (2, ("p50",)),
        (10, ("p50", "p90")),
        (20, ("p50", "p90", "p95")),
        (99, ("p50", "p90", "p95")),
        (100, ("p50", "p90", "p95", "p99")),
    ],
)
def test_a_percentile_that_so_few_values_cannot_tell_is_not_known(
    num: int, known: tuple[str, ...]
) -> None:
    values = Distribution.of(list(range(num)))
    assert values is not None
    assert tuple(name for name in values.statistics() if name.startswith("p")) == known


def test_a_p99_has_an_upper_limit_from_368_values_on() -> None:
    for num, is_open in ((367, True), (368, False)):
        values = Distribution.of(list(range(num)))
        assert values is not None
        assert (values.intervals["p99"].high is None) is is_open


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truths = {"mean": math.exp(0.125), "p50": 1.0, "p90": math.exp(0.5 * 1.2815515655)}
    for num in (40, 400):
        random = np.random.default_rng(num)
        hits = dict.fromkeys(truths, 0)
        for _ in range(200):
            values = Distribution.of(np.exp(0.5 * random.normal(size=num)))
            assert values is not None
            for name, truth in truths.items():
                hits[name] += values.intervals[name].includes(truth)
        assert all(num_hits / 200 >= 0.92 for num_hits in hits.values()), hits


def test_gaps_of_one_request_are_worth_less_than_as_many_of_different_ones() -> None:
    """Each request has its own pace: only between requests is there anything to learn."""
    random = np.random.default_rng(0)
    hits = {"mean": 0, "p50": 0}
    groups = np.repeat(np.arange(40), 25)
    for _ in range(200):
        paces = np.repeat(random.normal(10, 1, 40), 25) + random.normal(0, 0.1, 1000)
        values = Distribution.of(paces, groups)
        assert values is not None
        for name in hits:
            hits[name] += values.intervals[name].includes(10.0)
    assert min(hits.values()) / 200 >= 0.9


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_distribution_is_numpys_whatever_the_order(values: list[float], random: Random) -> None:
    found = Distribution.of(values)
    assert found is not None
    for percent in (50, 90, 95, 99):
        value = getattr(found, f"p{percent}")
        assert (value is not None) is is_known(percent, len(values))
        assert value is None or value == pytest.approx(np.percentile(values, percent))
    ladder = [found.min, found.p50, found.p90, found.p95, found.p99, found.max]
    known = [one for one in ladder if one is not None]
    assert known == sorted(known)
    assert all(found.intervals[name].includes(getattr(found, name)) for name in found.intervals)
    random.shuffle(values)
    assert Distribution.of(values) == found


def a_measured(
    times_us: tuple[int, int], gaps_us: list[int], num_tokens: int | None, error: str
) -> Measured:
    """As the clock gives times: in whole microseconds. Without gaps there is no text."""
    due_us, waited_us = times_us
    at_us = np.cumsum([due_us + waited_us, *gaps_us]).tolist()
    return a_result(
        due_s=due_us / 1e6,
        sent_s=at_us[0] / 1e6,
        arrivals_s=[one / 1e6 for one in at_us[1:]],
        first_answer_s=at_us[-1] / 1e6 if len(gaps_us) > 2 else None,
        end_s=at_us[-1] / 1e6,
        num_output_tokens=num_tokens,
        num_prompt_tokens=num_tokens,
        error=error,
    )


RESULTS = st.builds(
    a_measured,
    st.tuples(st.integers(0, 20_000_000), st.just(0) | st.integers(0, 20_000_000)),
    st.lists(st.integers(0, 2_000_000), max_size=5),
    st.none() | st.integers(0, 9),
    st.sampled_from(["", "", "", "timeout"]),
)


@given(st.lists(RESULTS, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_figures_are_numbers_with_stable_names_whatever_the_order(
    results: list[Measured], random: Random
) -> None:
    run = a_run_of(results, objective="ttft:500,tpot:50,itl:50,e2e:5000,ttfot:700")
    summary = Summary.of(run)
    figures = summary.figures()
    assert set(figures) <= set(NAMES)
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())
    for name, value in figures.items():
        interval = summary.interval(name)
        near = (value, value * (1 + 1e-9), value * (1 - 1e-9))  # a scaled limit is rounded
        assert interval is None or any(map(interval.includes, near)), name
    random.shuffle(run.results)
    assert Summary.of(run).figures() == pytest.approx(figures)


@given(st.lists(RESULTS, min_size=1, max_size=40), st.floats(0.5, 4))
@settings(max_examples=40, deadline=None)
def test_a_run_that_takes_longer_by_a_factor_is_slower_by_it(
    results: list[Measured], factor: float
) -> None:
    stretched = [
        msgspec.structs.replace(
            one,
            **{name: getattr(one, name) * factor for name in ("due_s", "sent_s", "end_s")},
            arrivals_s=[at * factor for at in one.arrivals_s],
            first_answer_s=None if one.first_answer_s is None else one.first_answer_s * factor,
        )
        for one in results
    ]
    before, after = (Summary.of(a_run_of(side)).figures() for side in (results, stretched))
    for name in before:
        if name.endswith("_ms") and name.split("_")[0] != "std":
            assert after[name] == pytest.approx(before[name] * factor, abs=1e-6)


def test_an_objective_is_read_and_met_request_by_request() -> None:
    assert objective_of("ttft:300, TPOT:30,e2el:5000,itl:50.5") == {
        "ttft": 300,
        "tpot": 30,
        "e2e": 5000,
        "itl": 50.5,
    }
    assert objective_of(" ") == {}
    for limits, is_good in [
        ("ttft:100.001", True),
        ("ttft:99", False),
        ("ttfot:199", False),
        ("itl:150.001", True),
        ("itl:149", False),
        ("tpot:50.001", True),
        ("tpot:49", False),
        ("e2e:449", False),
    ]:
        assert is_met(GOOD, objective_of(limits)) is is_good, limits
    assert not is_met(a_result(error="timeout"), {})
    assert is_met(a_result(num_output_tokens=1, arrivals_s=[0.1]), {"tpot": 1, "itl": 1})


@pytest.mark.parametrize(
    "words", ["ttft", "ttft:", "speed:3", "ttft:0", "ttft:nan", "e2e:1,e2e:2", ","]
)
def test_what_is_no_objective_is_refused_with_what_is_possible(words: str) -> None:
    with pytest.raises(WrongOption, match="ttft:300"):
        objective_of(words)


def test_a_figure_is_found_by_its_name_with_or_without_unit() -> None:
    assert figure_named("p99_ttft") == figure_named(" P99-TTFT-ms ") == "p99_ttft_ms"
    assert figure_named("tokens_per_s") == "output_tokens_per_s"
    assert figure_named("goodput") == "goodput_per_s"
    assert is_more_better("output_tokens_per_s") is True
    assert is_more_better("p99_ttft_ms") is False
    assert is_more_better("peak_concurrency") is None
    with pytest.raises(WrongOption, match="did you mean p99_ttft"):
        figure_named("p99_tftf")
