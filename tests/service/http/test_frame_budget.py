"""A token bucket."""

from __future__ import annotations

from service.http.frame_budget import FrameBudget


def test_a_burst_is_allowed_and_then_so_many_a_second() -> None:
    budget = FrameBudget(3, 2.0, 0.0)
    assert [budget.spend(0.0) for _ in range(4)] == [True, True, True, False]
    assert not budget.spend(0.4)
    assert budget.spend(1.0)
    assert budget.spend(1.0)
    assert not budget.spend(1.0)


def test_a_long_silence_saves_no_more_than_a_burst() -> None:
    budget = FrameBudget(2, 100.0, 0.0)
    assert [budget.spend(1000.0) for _ in range(3)] == [True, True, False]
