from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling.chunks import Chunks
from engine.sampling.noise import uniform, uniforms
from engine.sampling.weights import ceiling, draw, draw_of, weigh


@given(st.integers(-(2**80), 2**80), st.integers(0, 15), st.integers(0, 10**6))
def test_noise_is_a_function_of_its_key(seed: int, sample_index: int, position: int) -> None:
    number = uniform(seed, sample_index, position)
    assert 0 <= number < 1
    assert (
        number
        == uniform(seed, sample_index, position)
        == uniform(seed % 2**64, sample_index, position)
    )


@given(
    st.lists(
        st.tuples(st.integers(-(2**70), 2**70), st.integers(0, 2**20), st.integers(0, 2**40)),
        min_size=1,
        max_size=9,
    )
)
def test_many_numbers_at_once_are_the_same_bit_by_bit(keys: list[tuple[int, int, int]]) -> None:
    seeds = np.asarray([seed % 2**64 for seed, _, _ in keys], np.uint64)
    samples, positions = np.asarray([key[1] for key in keys]), np.asarray([key[2] for key in keys])
    assert uniforms(seeds, samples, positions).tolist() == [uniform(*key) for key in keys]


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


@pytest.mark.parametrize("vocab_size", [1, 2, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("noise", [0.0, 1e-300, 0.3, 1 - 2**-53])
def test_a_draw_inverts_the_cumulative_weights(vocab_size: int, noise: float) -> None:
    generator = torch.Generator().manual_seed(vocab_size)
    exponents = -torch.rand(3, vocab_size, generator=generator) * 30
    exponents[:, : vocab_size // 3] = -torch.inf
    weights = weigh(exponents - exponents.amax(-1, keepdim=True), ceiling(vocab_size))
    noises = torch.full((3,), noise, dtype=torch.float64)
    drawn = draw(weights, noises).tolist()
    for row, token in enumerate(drawn):
        exact = [int(weight) for weight in weights[row].tolist()]
        assert sum(exact) < 2**53
        goal = min(int(noise * sum(exact)), sum(exact) - 1)
        assert exact[token] > 0
        assert sum(exact[:token]) <= goal < sum(exact[: token + 1])
    order = torch.randperm(vocab_size, generator=generator).expand(3, -1)
    assert draw_of(weights.gather(1, order), order, noises).tolist() == drawn


def test_the_heaviest_tokens_of_the_largest_vocabulary_add_up_exactly() -> None:
    for vocab_size in (2**18, 2**18 + 1):
        weights = weigh(torch.zeros(1, vocab_size), ceiling(vocab_size))
        last = torch.tensor([1 - 2**-53], dtype=torch.float64)
        assert draw(weights, last).tolist() == [vocab_size - 1]
        assert draw(weights, last / 2).tolist() == [(vocab_size - 1) // 2]


@pytest.mark.parametrize("where", [0, 1, 7, 500])
def test_a_weight_does_not_depend_on_where_it_stands(where: int) -> None:
    exponents = -torch.rand(2000, generator=torch.Generator().manual_seed(0)) * 40
    whole = weigh(exponents.clone(), 2.0**40)
    for length in (1, 3, 17, 900):
        part = torch.zeros(2, 1000)[:, :length]
        part[1] = exponents[where : where + length]
        assert torch.equal(weigh(part, 2.0**40)[1], whole[where : where + length])


@pytest.mark.parametrize(("width", "size"), [(1, 4), (4, 4), (11, 4), (4096, 8), (4099, 8)])
def test_pieces_find_what_the_whole_row_holds(width: int, size: int) -> None:
    chunks = Chunks(width, size)
    values = torch.randint(0, 9, (5, width), generator=torch.Generator().manual_seed(1)).float()
    peak, at = chunks.argmax(values)
    assert torch.equal(peak, values.amax(-1))
    assert torch.equal(at, values.argmax(-1))
    assert torch.equal(chunks.sums(values).sum(-1), values.double().sum(-1))
    for count in (1, 5, 300):
        top, columns = chunks.top(values, count)
        assert torch.equal(top, values.topk(min(count, width)).values)
        assert torch.equal(values.gather(1, columns), top)
        assert all(len(set(row)) == len(row) for row in columns.tolist())
