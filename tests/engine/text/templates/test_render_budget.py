"""A budget counts what a rendering does and says when it is used up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import SecurityError

from engine.text.templates.render_budget import RenderBudget


class HandClock:
    """Tells the time it was set to, and how often it was asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.num_looks = 0

    def __call__(self) -> float:
        self.num_looks += 1
        return self.now


def test_the_clock_is_looked_at_now_and_then() -> None:
    clock = HandClock()
    budget = RenderBudget(1000, 2.0, clock)
    assert sum(1 for _ in budget.rounds(range(10_000))) == 10_000
    assert 10 <= clock.num_looks <= 1000


def test_after_its_time_everything_is_refused() -> None:
    clock = HandClock()
    budget = RenderBudget(1000, 2.0, clock)
    clock.now = 2.5
    with pytest.raises(SecurityError, match=r"more than 2\.0 s"):
        list(budget.rounds(range(1000)))
    for _ in range(3):
        with pytest.raises(SecurityError):
            budget.tick()
        with pytest.raises(SecurityError):
            budget.charge(1)
        with pytest.raises(SecurityError):
            budget.weigh([1])


def test_a_large_value_counts_as_many_rounds() -> None:
    clock = HandClock()
    budget = RenderBudget(10_000_000, 2.0, clock)
    budget.charge(1_000_000)
    budget.search("a" * 1_000_000)
    assert clock.num_looks == 3  # one to begin with


def test_one_value_and_the_sum_of_all_are_bounded() -> None:
    budget = RenderBudget(1000, 2.0, HandClock())
    with pytest.raises(SecurityError, match="value of more than 1000"):
        budget.charge(1001)
    budget = RenderBudget(1000, 2.0, HandClock())
    for _ in range(16):
        budget.charge(1000)
    with pytest.raises(SecurityError, match="16 times 1000"):
        budget.charge(1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
)


@given(JSON, st.integers(0, 4))
def test_the_weight_is_near_the_length_of_the_text(value: object, indent: int) -> None:
    budget = RenderBudget(10_000_000, 2.0, HandClock())
    text = json.dumps(value, indent=indent or None)
    assert len(text) <= 3 * budget.weigh(value, indent) + 8
    assert len(repr(value)) <= 3 * budget.weigh(value) + 8


def test_what_is_in_a_value_twice_counts_twice() -> None:
    budget = RenderBudget(10_000, 2.0, HandClock())
    value: object = "abcdefgh"
    for _ in range(5):
        value = (value, {"k": value})
    assert budget.weigh(value) > 8 * 2**5
    for _ in range(40):
        value = [value, value]
    with pytest.raises(SecurityError, match="value of more than"):
        budget.weigh(value)


def test_depth_is_bounded_before_anything_recurses_into_it() -> None:
    budget = RenderBudget(10_000_000, 2.0, HandClock())
    value: tuple[object, ...] = ()
    for _ in range(5000):
        value = (value,)
    with pytest.raises(SecurityError, match="deep"):
        budget.weigh(value)
