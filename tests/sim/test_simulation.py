"""Whole histories of the engine in virtual time: see `docs/decisions/0008-engine-core.md`.

Each seed decides a model and its limits, who comes and what he does, and what goes wrong; each step
is judged, and so is each event. `python -m tests.sim.replay SEED` prints a history.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from engine.policies import dynamic
from engine.policies.sorted_queue import by_arrival
from tests.sim.failure import SimulationFailure
from tests.sim.history import NUM_STEPS, simulate, simulate_crowd
from tests.sim.regressions import CROWDS, WORLDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.sequence import Sequence

_CHUNK = 20
_NUM_WORLDS = 300
_NUM_CROWDS = 300

_SITUATIONS = [
    "aborted while decoding",
    "aborted while in prefill",
    "aborted while over",
    "aborted while preempted",
    "aborted while waiting",
    "aborted while with samples that wait",
    "copies",
    "dirty blocks",
    "down: engine_error",
    "down: engine_unavailable",
    "ended: cancelled",
    "ended: commands end",
    "ended: device breaks",
    "ended: drained",
    "ended: quiet",
    "ended: the first model could not be loaded",
    "forced runs",
    "late draws",
    "loads",
    "loads that failed",
    "numbers that were not finite",
    "preemptions",
    "refused: overloaded",
    "rows changed hands",
    "steps in chunks",
    "steps that raised",
    "steps with a prefix awaited",
    "steps with others waiting",
    "unloads",
    "visitors who left early",
]
_seen: Counter[str] = Counter()
_steps: dict[str, list[int]] = {"worlds": [], "crowds": []}


def chunks(first: int, count: int) -> list[range]:
    return [range(seed, seed + _CHUNK) for seed in range(first, first + count, _CHUNK)]


def name(seeds: range) -> str:
    return f"{seeds[0]}-{seeds[-1]}"


def run_world(seed: int) -> int:
    """The digest of its history."""
    try:
        world = simulate(seed)
    except SimulationFailure as failure:
        pytest.fail(str(failure))
    _seen.update(world.seen)
    _steps["worlds"].append(world.num_steps)
    return world.digest


def run_crowd(seed: int) -> None:
    try:
        crowd = simulate_crowd(seed)
    except SimulationFailure as failure:
        pytest.fail(str(failure))
    _steps["crowds"].append(crowd.num_steps)


@pytest.mark.parametrize("seed", WORLDS)
def test_what_an_engine_has_failed_at_it_does_not_fail_at_again(seed: int) -> None:
    run_world(seed)


@pytest.mark.parametrize("seed", CROWDS)
def test_what_a_scheduler_has_failed_at_it_does_not_fail_at_again(seed: int) -> None:
    run_crowd(seed)


@pytest.mark.parametrize("seeds", chunks(0, _NUM_WORLDS), ids=name)
def test_an_engine_keeps_its_promises_whatever_happens_to_it(seeds: range) -> None:
    for seed in seeds:
        run_world(seed)


@pytest.mark.parametrize("seeds", chunks(0, _NUM_CROWDS), ids=name)
def test_a_scheduler_keeps_its_promises_in_any_crowd(seeds: range) -> None:
    for seed in seeds:
        run_crowd(seed)


@pytest.mark.slow
@pytest.mark.load
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(100_000, 120_000, 1000))
def test_promises_are_kept_in_many_more_histories(first: int) -> None:
    """For a night: `pytest tests/sim -m load`."""
    for seed in range(first, first + 1000):
        run_world(seed)
        run_crowd(seed)


def test_histories_come_through_every_situation_and_are_long_enough() -> None:
    if len(_steps["worlds"]) < 300:
        for seed in range(300):
            run_world(seed)
    missed = [situation for situation in _SITUATIONS if not _seen[situation]]
    assert not missed
    for lengths in filter(None, _steps.values()):
        assert sum(lengths) / len(lengths) > 0.95 * NUM_STEPS


@pytest.mark.parametrize("seed", [1, 7, 10_000])
def test_a_seed_is_one_history(seed: int) -> None:
    assert run_world(seed) == run_world(seed)


def test_a_broken_promise_is_found_and_says_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shortest_first(self: dynamic.DynamicQueue) -> Iterator[Sequence]:
        """For ever: it starves who has a long prompt."""
        return iter(sorted(self, key=lambda s: (s.num_tokens, *by_arrival(s))))

    def first_failure() -> None:
        for seed in range(300):
            simulate_crowd(seed)

    monkeypatch.setattr(dynamic.DynamicQueue, "candidates", shortest_first)
    with pytest.raises(SimulationFailure, match=r"(?s)passed over.*replay --crowd \d+"):
        first_failure()
