from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling.noise import uniform
from engine.sampling.sampler import sample
from engine.step import ScheduledSequence


def row(
    temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0, seed: int = 0, position: int = 0
) -> ScheduledSequence:
    return ScheduledSequence("r", [0], position, [], True, temperature, top_p, top_k, seed)


def draw_many(logits: list[float], count: int = 4000, **params: float) -> list[int | None]:
    rows = [row(position=position, **params) for position in range(count)]  # type: ignore[arg-type]
    return list(sample(torch.tensor([logits]).expand(count, -1), rows))


def test_temperature_zero_takes_the_largest_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 2.0, 0.0]])
    assert sample(logits, [row(temperature=0), row(temperature=0)]) == (1, 0)


def test_tokens_come_as_often_as_their_probability() -> None:
    logits = [0.0, 1.0, 2.0]
    drawn = draw_many(logits, 20_000)
    expected = torch.tensor(logits).softmax(-1).tolist()
    for token, probability in enumerate(expected):
        assert drawn.count(token) / len(drawn) == pytest.approx(probability, abs=0.015)


def test_temperature_sharpens_and_flattens() -> None:
    logits = [0.0, 1.0]
    shares = [draw_many(logits, temperature=t).count(1) / 4000 for t in (0.25, 1.0, 4.0)]
    expected = [torch.tensor(logits).div(t).softmax(-1)[1].item() for t in (0.25, 1.0, 4.0)]
    assert shares == pytest.approx(expected, abs=0.03)


def test_top_k_leaves_the_k_heaviest() -> None:
    assert set(draw_many([0.0, 0.1, 0.2, 0.3], top_k=2)) == {2, 3}


def test_top_p_leaves_the_smallest_set_that_reaches_p() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert set(draw_many(logits, top_p=0.5)) == {0}
    assert set(draw_many(logits, top_p=0.6)) == {0, 1}
    assert set(draw_many(logits, top_p=0.9)) == {0, 1, 2}


@pytest.mark.parametrize(
    "params",
    [
        {"top_p": 0.0},
        {"top_k": 1},
        {"temperature": 1e-6},
        {"temperature": 1e-46},
        {"temperature": 5e-324, "top_p": 0.5, "top_k": 2},
    ],
)
def test_extreme_filters_are_greedy(params: dict[str, float]) -> None:
    assert set(draw_many([0.0, 0.5, 0.4], 50, **params)) == {1}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_is_drawn_from_numbers_that_are_not_finite(bad: float, temperature: float) -> None:
    logits = torch.tensor([[0.0, bad, 1.0], [0.0, 1.0, 0.5]])
    assert sample(logits, [row(temperature=temperature), row(temperature=0)]) == (None, 1)


def test_a_banned_token_is_never_drawn() -> None:
    assert 1 not in draw_many([0.0, float("-inf"), 0.0])


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.floats(0.05, 1), st.integers(0, 9)), min_size=2, max_size=6
    )
)
def test_a_row_draws_the_same_whatever_shares_the_batch(
    settings: list[tuple[float, float, int]],
) -> None:
    logits = torch.randn(len(settings), 9, generator=torch.Generator().manual_seed(1))
    rows = [row(t, p, k, seed=i, position=i) for i, (t, p, k) in enumerate(settings)]
    together = sample(logits, rows)
    alone = tuple(sample(logits[i : i + 1], [r])[0] for i, r in enumerate(rows))
    assert together == alone


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 15), st.integers(0, 10**6))
def test_noise_is_a_function_of_its_key(seed: int, sample_index: int, position: int) -> None:
    number = uniform(seed, sample_index, position)
    assert 0 <= number < 1
    assert number == uniform(seed, sample_index, position)


def test_noise_is_even_over_each_part_of_the_key() -> None:
    for keys in (
        [(i, 0, 0) for i in range(5000)],
        [(0, i, 0) for i in range(5000)],
        [(0, 0, i) for i in range(5000)],
    ):
        numbers = torch.tensor([uniform(*key) for key in keys])
        counts = torch.histc(numbers, 10, 0, 1)
        assert counts.min() > 400
        assert counts.max() < 600
        correlation = torch.corrcoef(torch.stack([numbers[:-1], numbers[1:]]))[0, 1]
        assert abs(correlation) < 0.05
