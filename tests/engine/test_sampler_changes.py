from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from engine.sampling.sampler import Sampler
from engine.sampling.token_counts import TokenCounts
from engine.step import RowStart
from tests.engine.sampler_reference import (
    CPU,
    changed_logits,
    expected_tokens,
    params_of,
    random_params,
    start_of,
)
from tests.requirements import requirement

GREEDY = {"temperature": 0.0}


def generate(
    sampler: Sampler, row: int, logits: torch.Tensor, token_ids: list[int], count: int
) -> list[int]:
    """`count` tokens more, each from the next row of logits."""
    for step in range(count):
        (token,) = sampler.sample(logits[step][None], [row], [len(token_ids)]).token_ids
        assert token is not None
        token_ids = [*token_ids, token]
    return token_ids


@requirement("chat.request.presence_penalty")
def test_a_presence_penalty_counts_output_once_and_no_prompt() -> None:
    sampler = Sampler(1, 4, CPU)
    sampler.start(start_of(0, params_of(presence_penalty=1.5, **GREEDY), [3, 3]))
    logits = torch.tensor([0.0, 0.4, 1.0, 2.0]).expand(9, -1)
    # 3 falls to 0.5, 2 to -0.5; then 3 stays ahead of all others, however often it comes.
    assert generate(sampler, 0, logits, [3, 3], 5)[2:] == [3, 2, 3, 3, 3]


@requirement("chat.request.frequency_penalty")
def test_a_frequency_penalty_grows_with_each_token() -> None:
    sampler = Sampler(1, 3, CPU)
    sampler.start(start_of(0, params_of(frequency_penalty=1.0, **GREEDY), [2]))
    logits = torch.tensor([0.0, 0.5, 2.2]).expand(9, -1)
    assert generate(sampler, 0, logits, [2], 6)[1:] == [2, 2, 1, 2, 0, 1]


@requirement("chat.request.repetition_penalty")
def test_a_repetition_penalty_counts_the_prompt_too() -> None:
    sampler = Sampler(2, 3, CPU)
    sampler.start(start_of(0, params_of(repetition_penalty=3.0, **GREEDY), [2]))
    sampler.start(start_of(1, params_of(repetition_penalty=3.0, **GREEDY), [1]))
    positive, negative = torch.tensor([0.1, 0.9, 2.0]), torch.tensor([-9.0, -0.5, -1.0])
    assert sampler.sample(torch.stack([positive, negative]), [0, 1], [1, 1]).token_ids == [1, 2]


@pytest.mark.parametrize("seed", range(6))
def test_each_step_sees_what_was_drawn_before(seed: int) -> None:
    chance = random.Random(seed)
    vocab_size = chance.choice([6, 40, 700])
    logits = torch.randn(30, vocab_size, generator=torch.Generator().manual_seed(seed))
    params = random_params(chance, vocab_size)
    sampler = Sampler(1, vocab_size, CPU)
    prompt = [chance.randrange(vocab_size) for _ in range(5)]
    sampler.start(start_of(0, params, prompt))
    token_ids = generate(sampler, 0, logits, prompt, 30)
    for step in range(30):
        before = token_ids[: 5 + step]
        assert token_ids[5 + step] in expected_tokens(logits[step], params, before, 5)


@pytest.mark.parametrize("seed", range(6))
def test_a_sequence_that_starts_again_goes_on_as_if_it_had_not_stopped(seed: int) -> None:
    chance = random.Random(seed)
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(seed))
    params = random_params(chance, 50)
    sampler = Sampler(3, 50, CPU)
    sampler.start(RowStart(1, params, 7, [1, 2, 3], 3, False))
    whole = generate(sampler, 1, logits, [1, 2, 3], 20)
    sampler.start(start_of(1, random_params(chance, 50), [9]))  # another one has the row meanwhile
    sampler.sample(logits[:1], [1], [1])
    sampler.start(RowStart(2, params, 7, whole[:13], 3, False))
    assert generate(sampler, 2, logits[10:], whole[:13], 10) == whole


def test_a_row_forgets_what_it_was_before() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    sampler = Sampler(1, 4, CPU)
    every = params_of(
        temperature=0.0,
        repetition_penalty=100.0,
        presence_penalty=2.0,
        banned_token_ids=(2,),
        logit_bias=((0, 9.0),),
        stop_token_ids=(1,),
        min_tokens=9,
        num_logprobs=2,
    )
    sampler.start(start_of(0, every, [3]))
    assert sampler.sample(logits, [0], [1]).token_ids == [0]
    sampler.start(start_of(0, params_of(**GREEDY), [3]))
    result = sampler.sample(logits, [0], [1])
    assert result.token_ids == [3]
    assert result.logprobs == []
    sampler.start(start_of(0, params_of(presence_penalty=2.0, **GREEDY), [3]))
    assert sampler.sample(logits, [0], [1]).token_ids == [3]


def test_only_allowed_tokens_come_and_no_banned_ones() -> None:
    logits = torch.arange(600.0)[None]
    for changes, token in [
        ({"allowed_token_ids": (4, 7, 5)}, 7),
        ({"allowed_token_ids": (4, 7, 5, 4), "banned_token_ids": (7, 7)}, 5),
        ({"banned_token_ids": (599, 598)}, 597),
        ({"allowed_token_ids": (4, 700, -1)}, 4),
        ({"banned_token_ids": (599,), "logit_bias": ((599, 100.0),)}, 598),
        ({"allowed_token_ids": (4, 5), "logit_bias": ((4, 2.0), (6, 100.0))}, 4),
    ]:
        for temperature in (0.0, 1e-3):
            sampler = Sampler(1, 600, CPU)
            sampler.start(start_of(0, params_of(temperature=temperature, **changes), [1]))
            assert sampler.sample(logits, [0], [1]).token_ids == [token]


@pytest.mark.parametrize("allowed", [(1, 2), (50, -3)])
@pytest.mark.parametrize("filters", [{"temperature": 0.0}, {}, {"top_p": 0.5}, {"top_k": 1}])
def test_where_every_token_is_banned_nothing_is_drawn(
    allowed: tuple[int, ...], filters: dict[str, float]
) -> None:
    sampler = Sampler(2, 10, CPU)
    params = params_of(allowed_token_ids=allowed, banned_token_ids=(1, 2), **filters)
    sampler.start(start_of(0, params, [1]))
    sampler.start(start_of(1, params_of(**GREEDY), [1]))
    logits = torch.arange(10.0).expand(2, -1)
    assert sampler.sample(logits, [0, 1], [1, 1]).token_ids == [None, 9]


def test_a_penalty_does_not_bring_back_what_is_banned() -> None:
    for changes in ({"repetition_penalty": 0.5}, {"presence_penalty": -2.0}):
        sampler = Sampler(1, 3, CPU)
        params = params_of(banned_token_ids=(0, 1, 2), temperature=0.0, **changes)  # type: ignore[arg-type]
        sampler.start(start_of(0, params, [0, 1, 2, 0, 1, 2], 3))
        assert sampler.sample(torch.zeros(1, 3), [0], [6]).token_ids == [None]


def test_stop_tokens_wait_for_min_tokens() -> None:
    sampler = Sampler(1, 5, CPU)
    params = params_of(stop_token_ids=(4, 99, -1), min_tokens=2, **GREEDY)
    sampler.start(start_of(0, params, [1, 2]))
    logits = torch.arange(5.0).expand(4, -1)
    assert generate(sampler, 0, logits, [1, 2], 4)[2:] == [3, 3, 4, 4]


def test_ids_out_of_the_vocabulary_touch_no_other_row() -> None:
    sampler = Sampler(3, 4, CPU)
    wild = (-1, -4, -5, 4, 7, 8, 2**40)
    params = params_of(
        temperature=0.0,
        banned_token_ids=wild,
        logit_bias=tuple((token, 100.0) for token in wild),
        stop_token_ids=wild,
        min_tokens=5,
        repetition_penalty=5.0,
    )
    for row in range(3):
        sampler.start(start_of(row, params if row == 1 else params_of(**GREEDY), list(wild)))
    logits = torch.arange(4.0).expand(3, -1)
    assert sampler.sample(logits, [0, 1, 2], [7, 7, 7]).token_ids == [3, 3, 3]


def test_the_smallest_and_the_largest_changes_agree_with_the_reference() -> None:
    logits = torch.tensor([1.0, 2.0, -3.0, 0.5])
    for changes in (
        {"repetition_penalty": 1e-3},
        {"repetition_penalty": 1e3},
        {"presence_penalty": -2.0, "frequency_penalty": 2.0},
        {"logit_bias": ((2, 100.0), (1, -100.0))},
    ):
        params = params_of(**GREEDY, **changes)  # type: ignore[arg-type]
        sampler = Sampler(1, 4, CPU)
        sampler.start(start_of(0, params, [1, 0, 0, 2], 1))
        expected = changed_logits(logits, params, [1, 0, 0, 2], 1).argmax()
        assert sampler.sample(logits[None], [0], [4]).token_ids == [expected]


def test_counts_are_kept_for_the_rows_that_ask_and_outgrow_their_lists() -> None:
    counts = TokenCounts(20, 5000, CPU)
    chance = random.Random(0)
    expected: dict[int, dict[int, int]] = {}

    for step in range(900):
        if step % 50 == 0:
            row = chance.randrange(20)
            counts.start(row, [3, 3, 6000], [4, 4, -1])
            expected[row] = {3: 0, 4: 2}
        if step % 170 == 169:
            row = chance.choice(list(expected))
            counts.drop(row)
            del expected[row]
        rows, tokens = np.arange(20), np.asarray([chance.randrange(-3, 5000) for _ in range(20)])
        counts.note(rows, tokens)
        for row, token in enumerate(tokens.tolist()):
            if row in expected and token >= 0:
                expected[row][token] = expected[row].get(token, 0) + 1
    assert set(np.flatnonzero(counts.are_counted(np.arange(20)))) == set(expected)
    ids, times, is_token = counts.read(np.asarray(list(expected)))
    for index, row in enumerate(expected):
        inside = is_token[index]
        kept = zip(ids[index][inside].tolist(), times[index][inside].tolist(), strict=True)
        assert dict(kept) == expected[row]
        assert (ids[index][~inside] == ids[index][0]).all()
