from __future__ import annotations

import random

import msgspec
import pytest
import torch

from engine.protocol import TokenLogprobs
from engine.sampling.sampler import Sampler
from tests.engine.sampler_reference import CPU, params_of, random_params, start_of


def reference(logits: torch.Tensor, token: int, num_top: int) -> TokenLogprobs:
    exact = logits.double().log_softmax(-1).clamp(min=-9999.0).tolist()
    order = sorted(range(len(exact)), key=lambda id_: (-logits[id_].item(), id_))[:num_top]
    return TokenLogprobs(
        token, exact[token], tuple(order), tuple(exact[token_id] for token_id in order)
    )


def agree(given: TokenLogprobs | None, expected: TokenLogprobs) -> bool:
    assert given is not None
    assert given.logprob == pytest.approx(expected.logprob, abs=1e-5, rel=1e-5)
    assert given.top_logprobs == pytest.approx(expected.top_logprobs, abs=1e-5, rel=1e-5)
    return (given.token_id, given.top_ids) == (expected.token_id, expected.top_ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocab_size", [3, 60, 1100, 9000])
def test_logprobs_are_of_the_models_own_distribution(vocab_size: int, dtype: torch.dtype) -> None:
    chance = random.Random(vocab_size)
    logits = torch.randn(16, vocab_size, generator=torch.Generator().manual_seed(1)) * 4
    logits = logits.to(dtype)
    sampler = Sampler(16, vocab_size, CPU)
    all_params = [random_params(chance, vocab_size) for _ in range(16)]
    for row, params in enumerate(all_params):
        sampler.start(start_of(row, params, [0, 1]))
    result = sampler.sample(logits, range(16), [2] * 16)
    for row, params in enumerate(all_params):
        if params.num_logprobs is None:
            assert result.logprobs[row] is None
            continue
        token = result.token_ids[row]
        assert token is not None
        assert agree(
            result.logprobs[row], reference(logits[row].float(), token, params.num_logprobs)
        )


def test_a_step_in_which_nobody_asks_has_none() -> None:
    sampler = Sampler(1, 5, CPU)
    sampler.start(start_of(0, params_of(), [1]))
    assert sampler.sample(torch.zeros(1, 5), [0], [1]).logprobs == []


def test_none_of_the_likeliest_is_the_tokens_own_alone() -> None:
    sampler = Sampler(1, 4, CPU)
    sampler.start(start_of(0, params_of(temperature=0.0, num_logprobs=0), [1]))
    (entry,) = sampler.sample(torch.zeros(1, 4), [0], [1]).logprobs
    assert agree(entry, TokenLogprobs(0, -1.3862944))


@pytest.mark.parametrize("vocab_size", [30, 4000, 30_000])
def test_of_equals_the_smaller_ids_come_first_however_many_there_are(vocab_size: int) -> None:
    sampler = Sampler(1, vocab_size, CPU)
    generator = torch.Generator().manual_seed(0)
    for levels in (1, 2, 3, 2000):
        logits = torch.randint(levels, (4, vocab_size), generator=generator).float()
        for row, entry in enumerate(sampler.score(logits, [2, 5, 8, 11], 20)):
            assert agree(entry, reference(logits[row], [2, 5, 8, 11][row], 20))


def test_what_was_given_is_scored_as_what_was_drawn() -> None:
    sampler = Sampler(3, 5000, CPU)
    logits = torch.randn(3, 5000, generator=torch.Generator().manual_seed(3)) * 5
    for row in range(3):
        sampler.start(start_of(row, params_of(num_logprobs=7), [1]))
    result = sampler.sample(logits, range(3), [1] * 3)
    tokens = [token for token in result.token_ids if token is not None]
    assert sampler.score(logits, tokens, 7) == result.logprobs


@pytest.mark.parametrize("num_tokens", [0, 1, 130])
def test_prompts_of_any_length_are_scored(num_tokens: int) -> None:
    sampler = Sampler(1, 20_000, CPU)  # 52 rows are handled at once
    logits = torch.randn(num_tokens, 20_000, generator=torch.Generator().manual_seed(3))
    tokens = [(37 * index) % 20_000 for index in range(num_tokens)]
    scored = sampler.score(logits, tokens, 2)
    assert len(scored) == num_tokens
    for row in range(0, num_tokens, 13):
        assert agree(scored[row], reference(logits[row], tokens[row], 2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("vocab_size", [4, 6000])
def test_every_number_fits_into_json(bad: float, vocab_size: int) -> None:
    sampler = Sampler(1, vocab_size, CPU)
    one, most = torch.zeros(vocab_size), torch.full((vocab_size,), bad)
    one[2] = bad
    most[1] = 0
    everything = torch.full((vocab_size,), bad)
    logits = torch.stack([one, most, everything])
    for token in (2, 1, -1, vocab_size):
        for entry in sampler.score(logits, [token] * 3, 5):
            numbers = (entry.logprob, *entry.top_logprobs)
            assert all(-9999 <= number <= 0 for number in numbers)
            assert b"null" not in msgspec.json.encode(numbers)
            assert len(entry.top_ids) == min(5, vocab_size)
            assert all(0 <= token_id < vocab_size for token_id in entry.top_ids)


def test_a_token_that_cannot_come_has_the_lowest_number() -> None:
    sampler = Sampler(1, 3, CPU)
    logits = torch.tensor([[0.0, float("-inf"), 0.0]])
    (entry,) = sampler.score(logits, [1], 3)
    assert entry.logprob == -9999
    assert entry.top_ids == (0, 2, 1)
    assert entry.top_logprobs[2] == -9999
