"""Whether two sides differ, and whether a machine should fail for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from observability.bench.errors import WrongOption
from observability.bench.figures.comparison import Comparison
from observability.bench.figures.difference import Difference, Verdict, differences_by_runs
from observability.bench.figures.figure import is_more_better
from observability.bench.figures.permutation import pair_p_values, split_p_values
from observability.bench.figures.threshold import Threshold, thresholds_of
from tests.observability.bench.a_run import a_run

if TYPE_CHECKING:
    from observability.bench.run import Run

FIGURES = ("output_tokens_per_s", "p50_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p50_e2e_ms")
NUM_SIMULATED = 120


def simulated(
    random: np.random.Generator, noise: float, slow: float = 1.0
) -> list[dict[str, float]]:
    """The figures of five runs; half of the noise is common to the figures of a run."""
    runs = []
    for _ in range(5):
        common = random.normal()
        runs.append(
            {
                name: 100
                * (1 / slow if is_more_better(name) else slow)
                * float(np.exp(noise * (common + random.normal()) / np.sqrt(2)))
                for name in FIGURES
            }
        )
    return runs


def some_runs(num: int, *, seed: int = 0, slow: float = 1.0, num_requests: int = 60) -> list[Run]:
    return [
        a_run(
            f"20261201-0145{seed + index:02}-3fa9", num=num_requests, seed=seed + index, slow=slow
        )
        for index in range(num)
    ]


def test_two_sides_of_one_build_show_no_difference() -> None:
    """In 95 % of cases or more, all figures together."""
    random = np.random.default_rng(7)
    num_quiet = sum(
        not any(
            one.is_seen
            for one in differences_by_runs(
                simulated(random, 0.03), simulated(random, 0.03), FIGURES
            )
        )
        for _ in range(NUM_SIMULATED)
    )
    assert num_quiet >= 0.95 * NUM_SIMULATED


def test_a_fifth_slower_is_found_in_noise_of_a_twentieth() -> None:
    random = np.random.default_rng(8)
    num_found = sum(
        all(
            one.verdict == Verdict.SLOWER
            for one in differences_by_runs(
                simulated(random, 0.05), simulated(random, 0.05, 1.2), FIGURES
            )
        )
        for _ in range(NUM_SIMULATED)
    )
    assert num_found >= 0.95 * NUM_SIMULATED


def test_the_chance_of_a_false_alarm_is_what_it_says() -> None:
    """Of 2000 comparisons of nothing the smallest of 8 p-values is at most 0.05 in 5 %."""
    random = np.random.default_rng(9)
    num_alarms = 0
    for _ in range(2000):
        values = random.normal(size=(10, 8)) + random.normal(size=(10, 1))
        num_alarms += split_p_values(values[:5], values[5:]).min() <= 0.05
    assert 0.035 <= num_alarms / 2000 <= 0.06


def test_p_values_are_counted_over_all_splits() -> None:
    a, b = np.arange(5.0)[:, None], np.arange(5.0)[:, None] + 10
    assert split_p_values(a, b) == pytest.approx(2 / 252)
    assert split_p_values(a[:4], b[:4]) == pytest.approx(2 / 70)
    assert split_p_values(a, a) == pytest.approx(1.0)
    assert split_p_values(np.zeros((5, 1)), np.zeros((5, 1))) == pytest.approx(1.0)
    assert pair_p_values(np.ones((6, 1))) == pytest.approx(2 / 64)


def test_many_runs_are_compared_by_a_sample_of_their_splits() -> None:
    random = np.random.default_rng(10)
    a, b = random.normal(size=(20, 2)), random.normal(size=(20, 2)) + np.array([0, 3])
    p_values = split_p_values(a, b)
    assert p_values[0] > 0.05
    assert 0 < p_values[1] < 0.001


def test_pairs_take_out_a_drift() -> None:
    """5 % slower in 2 % of noise, while the machine gets 20 % slower from first to last."""
    random = np.random.default_rng(11)
    num_by_pairs = num_by_splits = 0
    for _ in range(60):
        drifting = np.linspace(0, 0.2, 16) + random.normal(0, 0.02, 16)
        a, b = drifting[::2, None], drifting[1::2, None] + np.log(1.05)
        num_by_pairs += pair_p_values(b - a)[0] <= 0.05
        num_by_splits += split_p_values(a, b)[0] <= 0.05
    assert num_by_pairs > 0.9 * 60 > 0.5 * 60 > num_by_splits


def test_sides_that_change_places_turn_the_verdict_and_keep_the_p_value() -> None:
    random = np.random.default_rng(12)
    a, b = simulated(random, 0.05), simulated(random, 0.05, 1.2)
    for one, other in zip(
        differences_by_runs(a, b, FIGURES), differences_by_runs(b, a, FIGURES), strict=True
    ):
        assert one.p_value == pytest.approx(other.p_value)
        assert (one.verdict, other.verdict) == (Verdict.SLOWER, Verdict.FASTER)
        assert one.ratio is not None
        assert other.ratio == pytest.approx(1 / one.ratio)
        shuffled = differences_by_runs(a[::-1], b[2:] + b[:2], FIGURES)
        assert one in shuffled


def test_the_ratio_lies_in_its_interval_and_is_that_of_the_medians() -> None:
    random = np.random.default_rng(13)
    for one in differences_by_runs(simulated(random, 0.1), simulated(random, 0.1), FIGURES):
        assert one.a is not None
        assert one.b is not None
        assert one.ratio == pytest.approx(one.b / one.a)
        assert one.interval is not None
        assert one.interval.includes(one.b / one.a)


def test_a_rate_of_errors_is_compared_from_zero_on() -> None:
    none, some = [{"error_rate": 0.0}] * 5, [{"error_rate": 0.1 + index / 50} for index in range(5)]
    (seen,) = differences_by_runs(none, some, ["error_rate"])
    assert (seen.ratio, seen.verdict) == (None, Verdict.SLOWER)
    (same,) = differences_by_runs(none, none, ["error_rate"])
    assert same.verdict == Verdict.NO_DIFFERENCE


def test_a_figure_that_a_run_does_not_tell_is_not_known() -> None:
    a = [{"p99_ttft_ms": 1.0, "requests_per_s": 1.0 + index} for index in range(5)]
    b = [*a[:4], {"requests_per_s": 2.0}]
    unknown, known = differences_by_runs(a, b, ["p99_ttft_ms", "requests_per_s"])
    assert (unknown.verdict, unknown.a, unknown.b) == (Verdict.NOT_KNOWN, 1.0, None)
    assert known.verdict == Verdict.NO_DIFFERENCE


def test_runs_are_compared_whole() -> None:
    comparison = Comparison.of(some_runs(5), some_runs(5, slow=1.5))
    assert comparison.method == "splits"
    by_name = {one.name: one for one in comparison.differences}
    assert by_name["mean_tpot_ms"].verdict == Verdict.SLOWER
    assert by_name["mean_tpot_ms"].ratio == pytest.approx(1.5, rel=0.05)
    assert "p99_ttft_ms" not in by_name  # no run tells it
    assert [text[:15] for text in comparison.warnings] == ["Requests failed"]


def test_pairs_need_six_repeats() -> None:
    few = Comparison.of(some_runs(5), some_runs(5, slow=1.5), is_paired=True)
    assert few.method == "splits"
    assert any("in pairs" in text for text in few.warnings)
    enough = Comparison.of(some_runs(6), some_runs(6, slow=1.5), is_paired=True)
    assert enough.method == "pairs"
    assert {one.name: one.verdict for one in enough.differences}["p50_e2e_ms"] == Verdict.SLOWER


def test_one_run_each_shows_only_what_is_large_and_says_so() -> None:
    comparisons = {
        slow: Comparison.of(some_runs(1), some_runs(1, seed=3, slow=slow), ["mean_tpot_ms"])
        for slow in (1.0, 1.1, 1.3)
    }
    verdicts = [one.differences[0].verdict for one in comparisons.values()]
    assert verdicts == [Verdict.NO_DIFFERENCE, Verdict.NO_DIFFERENCE, Verdict.SLOWER]
    assert all(one.differences[0].p_value is None for one in comparisons.values())
    assert any("Fewer than 4 runs" in text for text in comparisons[1.0].warnings)
    assert any("other seeds" in text for text in comparisons[1.0].warnings)


def test_runs_of_other_workloads_are_compared_with_a_warning() -> None:
    other = some_runs(4)
    for run in other:
        run.plan = type(run.plan)(
            target=run.plan.target, workload="random:9,9", arrival="burst", num_requests=60
        )
    warnings = " ".join(Comparison.of(some_runs(4), other).warnings)
    assert "workload everywhere: random:128,24; random:9,9" in warnings


def a_difference(**more: object) -> Difference:
    values: dict[str, object] = {
        "name": "p99_ttft_ms",
        "a": 100.0,
        "b": 120.0,
        "ratio": 1.2,
        "p_value": 0.01,
        "verdict": Verdict.SLOWER,
    }
    return Difference(**{**values, **more})


@pytest.mark.parametrize(
    ("words", "more", "is_failed", "reason"),
    [
        ("p99_ttft>+10%", {}, True, "+20.0%"),
        ("p99_ttft>+25%", {}, False, "within"),
        ("p99_ttft>+10%", {"verdict": Verdict.NO_DIFFERENCE, "p_value": 0.3}, False, "p 0.3"),
        ("p99_ttft<-10%", {}, False, "within"),
        ("p99_ttft<-10%", {"b": 80.0, "ratio": 0.8, "verdict": Verdict.FASTER}, True, "-20.0%"),
        ("p99_ttft>110", {"a": None}, True, "120 in B"),
        ("p99_ttft>120", {}, False, "120 in B"),
        ("p99_ttft<130", {}, True, "120 in B"),
        ("p99_ttft>+10%", {"a": None}, True, "of A tells"),
        ("p99_ttft>110", {"b": None}, True, "B does not tell"),
        ("p99_ttft>+10%", {"a": 0.0, "ratio": None}, True, "+inf%"),
    ],
)
def test_a_threshold_fails_what_is_beyond_and_seen(
    words: str, more: dict[str, object], is_failed: bool, reason: str
) -> None:
    judgement = Threshold.of(words).judge(a_difference(**more))
    assert judgement.is_failed is is_failed
    assert reason in judgement.text
    assert words in judgement.text


def test_what_was_not_compared_fails() -> None:
    assert Threshold.of("p99_ttft>+10%").judge(None).is_failed


def test_thresholds_are_read_with_names_as_people_write_them() -> None:
    first, second = thresholds_of("p99_ttft > +10%, tokens_per_s<-5.5%")
    assert (first.name, first.side, first.limit, first.is_relative) == (
        "p99_ttft_ms",
        ">",
        0.1,
        True,
    )
    assert (second.name, second.limit) == ("output_tokens_per_s", pytest.approx(-0.055))
    value = Threshold.of("error_rate>0.01")
    assert (value.limit, value.is_relative) == (0.01, False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("p99_ttft", "FIGURE>"),
        ("p99_ttft>=3", "FIGURE>"),
        ("p99_ttft>10%", "write \\+10%"),
        ("p99_ttft>+10", "write \\+10%"),
        ("p98_ttft>+10%", "did you mean p9"),
        ("", "FIGURE>"),
    ],
)
def test_what_is_no_threshold_is_refused_with_what_is_possible(words: str, told: str) -> None:
    with pytest.raises(WrongOption, match=told):
        thresholds_of(words)
