"""When sessions are due: what the command line's words mean."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bench.errors import WrongOption
from observability.bench.turn import Session, Turn
from observability.bench.workload.arrival import arrival_of, timed

AT_A_RATE = (
    "constant:20",
    "poisson:20",
    "gamma:20,0.3",
    "gamma:20,5",
    "ramp:1-40,10",
    "ramp:0-40,10",
    "ramp:40-2,10",
    "ramp:20-20,10",
    "ramp:1-40,10,exponential",
    "ramp:40-2,10,exponential",
    "ramp:20-20,10,exponential",
)


def due_times_s(words: str, num: int, seed: int = 0) -> list[float]:
    times = arrival_of(words).due_times_s([None] * num, seed)
    assert all(time_s is not None for time_s in times)
    return [time_s or 0.0 for time_s in times]


@given(st.sampled_from(AT_A_RATE), st.integers(0, 500), st.integers(0, 2**32))
def test_sessions_are_due_in_their_order_from_0_on_and_for_a_seed_always_then(
    words: str, num: int, seed: int
) -> None:
    times = due_times_s(words, num, seed)
    assert len(times) == num
    assert times == sorted(times)
    assert times[:1] in ([], [0.0])
    assert times == due_times_s(words, num, seed)


@pytest.mark.parametrize("words", ["constant:20", "poisson:20", "gamma:20,0.3", "gamma:20,5"])
@pytest.mark.parametrize("seed", range(3))
def test_so_many_are_due_a_second_as_were_asked_for(words: str, seed: int) -> None:
    times = due_times_s(words, 20_000, seed)
    assert 20_000 / times[-1] == pytest.approx(20, rel=0.05)


def test_another_seed_gives_other_times() -> None:
    assert due_times_s("poisson:20", 9, 1) != due_times_s("poisson:20", 9, 2)


@pytest.mark.parametrize(("burstiness", "variation"), [(0.25, 2.0), (1, 1.0), (4, 0.5)])
def test_burstiness_says_how_unequal_the_gaps_are(burstiness: float, variation: float) -> None:
    times = due_times_s(f"gamma:10,{burstiness}", 20_000)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation / mean == pytest.approx(variation, rel=0.1)


@pytest.mark.parametrize(
    ("words", "in_first_half", "in_ramp"),
    [
        # By the integral of the rate: a straight line from 100 to 300, and 100 * 3 ** (t / 20).
        ("ramp:100-300,20", 1500, 4000),
        ("ramp:0-300,20", 750, 3000),
        ("ramp:300-100,20", 2500, 4000),
        ("ramp:100-300,20,exponential", 1332.7, 3640.9),
    ],
)
def test_a_ramp_grows_as_it_says_and_stays_at_its_end(
    words: str, in_first_half: float, in_ramp: float
) -> None:
    times = due_times_s(words, 20_000)
    assert sum(time_s < 10 for time_s in times) == pytest.approx(in_first_half, rel=0.1)
    assert sum(time_s < 20 for time_s in times) == pytest.approx(in_ramp, rel=0.06)
    end_rate = float(words.split("-")[1].split(",")[0])
    in_a_second = sum(20 <= time_s < 30 for time_s in times) / 10
    assert in_a_second == pytest.approx(end_rate, rel=0.1)


def test_a_closed_loop_has_no_times_and_a_burst_one() -> None:
    assert arrival_of("closed").due_times_s([None, 3.0], 0) == [None, None]
    assert arrival_of("BURST").due_times_s([None, 3.0], 0) == [0.0, 0.0]


def test_a_trace_is_replayed_as_it_was_or_faster() -> None:
    sessions = [
        Session(index=index, turns=[Turn(text="hello")], due_s=due_s)
        for index, due_s in enumerate([0.0, 1.5, 6.0])
    ]
    assert timed(sessions, arrival_of("trace"), 0) == sessions
    assert [one.due_s for one in timed(sessions, arrival_of("trace:3"), 0)] == [0.0, 0.5, 2.0]
    assert [one.due_s for one in timed(sessions, arrival_of("closed"), 0)] == [None] * 3


def test_a_trace_needs_a_workload_with_times() -> None:
    with pytest.raises(WrongOption, match="--workload trace:FILE"):
        timed([Session(index=0, turns=[Turn(text="hello")])], arrival_of("trace"), 0)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "poison:3",
        "poisson",
        "poisson:",
        "poisson:0",
        "poisson:-1",
        "poisson:inf",
        "poisson:nan",
        "poisson:1,2",
        "constant:fast",
        "gamma:3",
        "gamma:3,0",
        "ramp",
        "ramp:1",
        "ramp:1-2",
        "ramp:1,2",
        "ramp:-2,3",
        "ramp:1-0,3",
        "ramp:1-2,0",
        "ramp:1-2,3,linear",
        "ramp:0-2,3,exponential",
        "closed:1",
        "burst:2",
        "trace:0",
        "trace:1,2",
    ],
)
def test_words_that_are_no_arrival_are_answered_with_those_that_are(words: str) -> None:
    with pytest.raises(WrongOption, match="poisson:RATE, gamma:RATE,BURSTINESS, ramp:FROM-TO"):
        arrival_of(words)
