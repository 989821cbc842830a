from __future__ import annotations

import math

import pytest

from service.models.residency import MIN_STAY_S, Move, Resident, Wanted, next_move

NOW = 100.0


def idle(name: str, *, since_s: float = 0.0, idle_s: float = 10.0, **other: object) -> Resident:
    return Resident(name, 10, since_s, NOW - idle_s, **other)  # type: ignore[arg-type]


def busy(name: str, *, since_s: float = 0.0, **other: object) -> Resident:
    return Resident(name, 10, since_s, None, **other)  # type: ignore[arg-type]


def test_who_fits_is_loaded() -> None:
    assert next_move([Wanted("c", 10)], [busy("a"), busy("b")], 30, NOW) == Move(load="c")


def test_who_has_waited_longest_comes_first() -> None:
    assert next_move([Wanted("d", 10), Wanted("c", 10)], [], 30, NOW) == Move(load="d")


def test_the_longest_unused_makes_room() -> None:
    residents = [idle("a", idle_s=5), idle("b", idle_s=9), busy("c")]
    assert next_move([Wanted("d", 10)], residents, 30, NOW) == Move(unload="b")


def test_the_pinned_stay() -> None:
    residents = [idle("a", is_pinned=True, idle_s=50), idle("b")]
    assert next_move([Wanted("c", 10)], residents, 20, NOW) == Move(unload="b")
    assert next_move([], [idle("a", is_pinned=True, timeout_s=1)], 20, NOW) == Move()


def test_where_only_the_pinned_are_left_the_engine_says_that_there_is_no_room() -> None:
    residents = [idle("a", is_pinned=True), busy("b", is_pinned=True)]
    assert next_move([Wanted("c", 10)], residents, 20, NOW) == Move(load="c")


def test_among_the_busy_the_one_that_has_been_there_longest_takes_nothing_new() -> None:
    residents = [busy("a", since_s=50), busy("b", since_s=40)]
    assert next_move([Wanted("c", 10)], residents, 20, NOW) == Move(leaving="b")


def test_who_has_just_come_stays_for_a_while() -> None:
    residents = [idle("a", since_s=NOW - 1), busy("b", since_s=NOW - 2)]
    expected = Move(wait_until_s=NOW - 2 + MIN_STAY_S)
    assert next_move([Wanted("c", 10)], residents, 20, NOW) == expected


def test_who_found_too_little_memory_waits_for_room_whatever_the_sums_say() -> None:
    assert next_move([Wanted("c", 10, is_short=True)], [idle("a")], math.inf, NOW) == Move(
        unload="a"
    )


def test_idle_time_counts_from_the_last_request_and_only_where_there_is_a_timeout() -> None:
    residents = [idle("a", idle_s=20, timeout_s=30), idle("b", idle_s=99), busy("c", timeout_s=1)]
    assert next_move([], residents, 90, NOW) == Move(wait_until_s=NOW + 10)
    assert next_move([], residents, 90, NOW + 10) == Move(unload="a")


@pytest.mark.parametrize("num_models", [3, 5])
def test_busy_models_share_the_room_by_turns(num_models: int) -> None:
    """Two fit; all are wanted all the time, and whoever leaves has finished half a second later."""
    now_s, loads = NOW, {f"m{n}": 0 for n in range(num_models)}
    there: dict[str, float] = {}
    waiting = list(loads)
    while now_s < NOW + 300:
        residents = [Resident(name, 10, since_s) for name, since_s in there.items()]
        move = next_move([Wanted(name, 10) for name in waiting], residents, 20, now_s)
        if move.load:
            waiting.remove(move.load)
            there[move.load] = now_s
            loads[move.load] += 1
        elif move.leaving:
            now_s += 0.5
            del there[move.leaving]
            waiting.append(move.leaving)
        else:
            now_s = move.wait_until_s
    assert min(loads.values()) >= max(loads.values()) - 1 > 10
