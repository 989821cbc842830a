from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.sampling.noise import uniform
from engine.sampling.sampler import Sampled, Sampler
from tests.engine.sampler_reference import (
    CPU,
    draw_many,
    expected_tokens,
    params_of,
    random_params,
    sample_alone,
    start_of,
    tokens_at,
)
from tests.requirements import requirement

if TYPE_CHECKING:
    from engine.protocol import SamplingParams

NAN, INF = float("nan"), float("inf")


def test_temperature_zero_takes_the_largest_and_the_first_of_equals() -> None:
    for logits, token in [([0.0, 3.0, 1.0], 1), ([2.0, 2.0, 0.0], 0), ([-1.0, 0.0, 0.0], 1)]:
        assert draw_many(logits, 1, temperature=0.0) == [token]
    wide = torch.zeros(1000)
    wide[[130, 700, 999]] = 1
    assert sample_alone(wide, params_of(temperature=0.0), [], 0).token_ids == [130]


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


@requirement("chat.request.top_k")
def test_top_k_leaves_the_k_heaviest_and_what_equals_the_last() -> None:
    assert set(draw_many([0.0, 0.1, 0.2, 0.3], top_k=2)) == {2, 3}
    assert set(draw_many([0.0, 0.2, 0.2, 0.3], top_k=2)) == {1, 2, 3}


def test_more_equals_than_candidates_all_stay() -> None:
    logits = [1.0] * 400 + [0.0] * 100
    for filters in ({"top_k": 3}, {"top_p": 0.01}, {"top_k": 300}, {"top_k": 3, "top_p": 0.01}):
        drawn = set(draw_many(logits, 5000, **filters))
        assert drawn == set(range(400))


@requirement("chat.request.top_p")
def test_top_p_leaves_the_smallest_set_that_reaches_p() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert set(draw_many(logits, top_p=0.49)) == {0}
    assert set(draw_many(logits, top_p=0.6)) == {0, 1}
    assert set(draw_many(logits, top_p=0.9)) == {0, 1, 2}


def test_top_p_is_a_share_of_what_top_k_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().tolist()
    assert set(draw_many(logits, top_k=2, top_p=0.5)) == {0}
    assert set(draw_many(logits, top_k=2, top_p=0.6)) == {0, 1}


@requirement("chat.request.min_p")
def test_min_p_leaves_what_weighs_its_share_of_the_heaviest() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert set(draw_many(logits, min_p=0.25)) == {0, 1, 2}
    assert set(draw_many(logits, min_p=0.5)) == {0, 1}
    assert set(draw_many(logits, min_p=0.25, top_p=0.7)) == {0, 1}


@pytest.mark.parametrize("vocab_size", [9, 300, 1100, 20_000])
def test_a_token_is_what_a_full_sort_in_float64_would_draw(vocab_size: int) -> None:
    chance = random.Random(vocab_size)
    generator = torch.Generator().manual_seed(vocab_size)
    for _ in range(60 if vocab_size > 10_000 else 250):
        params = random_params(chance, vocab_size)
        spread = chance.choice([0.5, 2.0, 5.0])
        logits = torch.randn(vocab_size, generator=generator) * spread
        token_ids = [chance.randrange(vocab_size) for _ in range(chance.randrange(1, 40))]
        border = chance.randrange(1, len(token_ids) + 1)
        sampled = sample_alone(logits, params, token_ids, border, sample=3)
        assert sampled.token_ids[0] in expected_tokens(logits, params, token_ids, border, 3), params


@pytest.mark.parametrize("vocab_size", [13, 1100, 20_000])
def test_a_token_is_what_transformers_leaves_and_weighs(vocab_size: int) -> None:
    chance = random.Random(vocab_size)
    generator = torch.Generator().manual_seed(vocab_size)
    for seed in range(150):
        temperature = chance.choice([0.3, 0.8, 1.0, 3.0])
        repetition = chance.choice([1.0, 0.7, 1.3])
        top_k = chance.choice([0, 3, 50, 400])
        top_p = chance.choice([1.0, 0.2, 0.9, 0.99])
        min_p = chance.choice([0.0, 0.02, 0.3])
        processors = LogitsProcessorList(
            [RepetitionPenaltyLogitsProcessor(repetition), TemperatureLogitsWarper(temperature)]
        )
        if top_k:
            processors.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            processors.append(TopPLogitsWarper(top_p))
        if min_p:
            processors.append(MinPLogitsWarper(min_p))
        logits = torch.randn(vocab_size, generator=generator) * chance.choice([1.0, 4.0])
        token_ids = [chance.randrange(vocab_size) for _ in range(20)]
        scores = processors(torch.tensor([token_ids]), logits[None].clone())
        params = params_of(
            temperature=temperature,
            repetition_penalty=repetition,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
        )
        expected = tokens_at(scores[0].double().softmax(-1).numpy(), uniform(seed, 0, 20), 1e-4)
        assert sample_alone(logits, params, token_ids, 10).token_ids[0] in expected


@pytest.mark.parametrize("seed", range(3))
def test_the_tokens_that_transformers_leaves_are_all_drawn_and_no_other(seed: int) -> None:
    logits = torch.randn(12, generator=torch.Generator().manual_seed(seed)) * 0.3
    for name, value, warper in [
        ("top_k", 5, TopKLogitsWarper(5)),
        ("top_p", 0.6, TopPLogitsWarper(0.6)),
        ("min_p", 0.7, MinPLogitsWarper(0.7)),
    ]:
        left = warper(torch.zeros(1, 1, dtype=torch.long), logits[None]).isfinite()[0]
        drawn = set(draw_many(logits.tolist(), **{name: value}))
        assert drawn == set(left.nonzero()[:, 0].tolist())


@pytest.mark.parametrize(
    ("vocab_size", "num_rows", "rounds"), [(50, 12, 8), (1100, 12, 3), (20_000, 56, 1)]
)
def test_a_row_draws_the_same_whatever_else_is_in_the_batch(
    vocab_size: int, num_rows: int, rounds: int
) -> None:
    chance = random.Random(num_rows)
    for round_ in range(rounds):
        starts = []
        for row in range(num_rows):
            token_ids = [chance.randrange(vocab_size) for _ in range(chance.randrange(1, 20))]
            params = random_params(chance, vocab_size)
            starts.append(start_of(row, params, token_ids, chance.randrange(1, len(token_ids) + 1)))
        positions = np.asarray([len(start.token_ids) for start in starts])
        together, mixed = Sampler(num_rows, vocab_size, CPU), Sampler(num_rows, vocab_size, CPU)
        alone = [Sampler(num_rows, vocab_size, CPU) for _ in starts]
        for start, single in zip(starts, alone, strict=True):
            for sampler in (together, mixed, single):
                sampler.start(start)
        for step in range(3):  # penalties see what was drawn before
            generator = torch.Generator().manual_seed(round_ * 10 + step)
            logits = torch.randn(num_rows, vocab_size, generator=generator) * 3
            logits[0, 3] = NAN
            result = together.sample(logits, range(num_rows), positions)
            order = list(range(num_rows))
            chance.shuffle(order)
            other = mixed.sample(logits[order], order, positions[order])
            singles = [
                single.sample(logits[row : row + 1], [row], positions[row : row + 1])
                for row, single in enumerate(alone)
            ]
            assert result.token_ids == [single.token_ids[0] for single in singles]
            assert other.token_ids == [result.token_ids[row] for row in order]
            assert result.logprobs == [(single.logprobs or [None])[0] for single in singles]
            assert other.logprobs == [result.logprobs[row] for row in order]
            positions = positions + 1


def test_drawing_leaves_the_logits_as_they_are() -> None:
    chance = random.Random(5)
    sampler = Sampler(40, 300, CPU)
    for row in range(40):
        sampler.start(start_of(row, random_params(chance, 300), [1, 2, 3], 2))
    logits = torch.randn(40, 300)
    before = logits.clone()
    sampler.sample(logits, range(40), [3] * 40)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_draw_what_the_same_numbers_in_float32_do(dtype: torch.dtype) -> None:
    chance = random.Random(6)
    logits = torch.randn(30, 900, generator=torch.Generator().manual_seed(0)).to(dtype)
    results = []
    for given in (logits, logits.float()):
        sampler = Sampler(30, 900, CPU)
        chance.seed(6)
        for row in range(30):
            sampler.start(start_of(row, random_params(chance, 900), [1, 2, 3], 2))
        results.append(sampler.sample(given, range(30), [3] * 30))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "params",
    [
        {"top_p": 0.0},
        {"top_p": 1e-9},
        {"top_p": 5e-324},
        {"top_k": 1},
        {"min_p": 1.0},
        {"min_p": 7.0},
        {"temperature": 1e-6},
        {"temperature": 1e-46},
        {"temperature": 5e-324, "top_p": 0.5, "top_k": 2},
        {"temperature": 1e-30, "min_p": 1e-300},
        {"temperature": 1e-4, "top_p": 1 - 1e-16},
    ],
)
def test_extreme_filters_are_greedy(params: dict[str, float]) -> None:
    assert set(draw_many([0.0, 0.5, 0.4], 50, **params)) == {1}
    assert set(draw_many([0.0] * 700 + [0.5, 0.4], 50, **params)) == {700}


@pytest.mark.parametrize("temperature", [1e30, 1e300])
def test_an_extreme_temperature_makes_all_that_is_left_equally_likely(temperature: float) -> None:
    drawn = draw_many([-50.0, 0.0, 80.0, -INF], temperature=temperature)
    assert [drawn.count(token) / 4000 for token in range(4)] == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 0], abs=0.03
    )
    assert drawn.count(3) == 0
    assert set(draw_many([-50.0, 0.0, 80.0, -INF], top_k=2, temperature=temperature)) == {1, 2}


def extreme_params(chance: random.Random, vocab_size: int) -> dict[str, Any]:
    some = chance.sample(range(-5, vocab_size + 5), 4)
    return {
        "temperature": chance.choice([0.0, 1e-30, 1e-5, 1.0, 1e30]),
        "top_k": chance.choice([-1, 0, 1, 300, 2**40]),
        "top_p": chance.choice([0.0, 1e-9, 0.5, 1.0, 2.0]),
        "min_p": chance.choice([0.0, 1e-30, 1.0]),
        "presence_penalty": chance.choice([-2.0, 0.0, 2.0, 1e300]),
        "frequency_penalty": chance.choice([-2.0, 0.0, 2.0, -1e300]),
        "repetition_penalty": chance.choice([1e-3, 1.0, 1e3]),
        "logit_bias": tuple((token, chance.choice([-100.0, 100.0])) for token in some),
        "banned_token_ids": (-1, vocab_size, 2**40, some[0]),
        "stop_token_ids": (-7, vocab_size + 1, some[1]),
        "min_tokens": chance.choice([0, 5]),
        "seed": chance.choice([0, -1, 2**64 - 1, -(2**200)]),
        "num_logprobs": chance.choice([None, 0, 20]),
    }


def test_no_extreme_draws_a_token_that_weighs_nothing() -> None:
    chance = random.Random(1)
    for vocab_size in (8, 500):
        for _ in range(300):
            changes = extreme_params(chance, vocab_size)
            logits = torch.randn(vocab_size) * chance.choice([1e-30, 1.0, 1e30, 1e38])
            logits = logits.clamp(-3e38, 3e38)
            logits[::2] = -INF
            token_ids = [chance.randrange(-2, vocab_size + 2) for _ in range(6)]
            sampled = sample_alone(logits, params_of(**changes), token_ids, 3)
            token = sampled.token_ids[0]
            if token is None:  # all of the finite ones are banned or their logits had no bounds
                continue
            assert 0 <= token < vocab_size
            assert logits[token] > -INF
            assert token not in changes["banned_token_ids"]
            for entry in sampled.logprobs:
                assert entry is not None
                assert all(-9999 <= value <= 0 for value in (entry.logprob, *entry.top_logprobs))
                assert len(set(entry.top_ids)) == min(vocab_size, changes["num_logprobs"])


@pytest.mark.parametrize("bad", [[NAN, 0.0], [INF, 0.0], [-INF, -INF]])
@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.0},
        {},
        {"top_k": 2},
        {"top_p": 0.5},
        {"min_p": 0.5},
        {"top_k": 400},
        {"allowed_token_ids": (1,), "temperature": 0.0},
        {"allowed_token_ids": (1,), "top_p": 0.5},
        {"repetition_penalty": 2.0},
        {"num_logprobs": 3},
    ],
)
def test_nothing_is_drawn_from_numbers_that_are_not_finite(
    bad: list[float], changes: dict[str, Any]
) -> None:
    for vocab_size in (4, 1000):
        good = torch.randn(vocab_size, generator=torch.Generator().manual_seed(2))
        row = torch.full((vocab_size,), bad[1])
        row[0] = bad[0]
        sampler = Sampler(3, vocab_size, CPU)
        for index in range(3):
            sampler.start(start_of(index, params_of(**changes), [1]))
        logits = torch.stack([good, row, good])
        result = sampler.sample(logits, [0, 1, 2], [1, 1, 1])
        assert result.token_ids[1] is None
        assert None not in (result.token_ids[0], result.token_ids[2])
        if result.logprobs:
            assert result.logprobs[1] is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_token_without_weight_in_the_logits_is_never_drawn(temperature: float) -> None:
    assert 1 not in draw_many([0.0, -INF, 0.0], temperature=temperature)
    assert set(draw_many([-INF, -INF, 0.0], temperature=temperature, top_k=2)) == {2}


def test_a_step_without_rows_gives_nothing() -> None:
    assert Sampler(2, 9, CPU).sample(torch.zeros(0, 9), [], []) == Sampled([])


def test_samples_of_a_request_differ_and_positions_do() -> None:
    logits = torch.zeros(1000)
    tokens = {
        sample_alone(logits, params_of(seed=4), [0] * length, length, sample=sample).token_ids[0]
        for sample in range(10)
        for length in range(1, 11)
    }
    assert len(tokens) > 85


def test_params_are_the_rows_own() -> None:
    sampler = Sampler(8, 4, CPU)
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(3, 1)
    choices: list[SamplingParams] = [
        params_of(temperature=0.0),
        params_of(temperature=0.0, banned_token_ids=(3,)),
        params_of(allowed_token_ids=(0,)),
    ]
    for row, params in zip([5, 0, 7], choices, strict=True):
        sampler.start(start_of(row, params, [1]))
    assert sampler.sample(logits, [5, 0, 7], [1, 1, 1]).token_ids == [3, 2, 0]
    assert sampler.sample(logits, [7, 5, 0], [2, 2, 2]).token_ids == [0, 3, 2]
