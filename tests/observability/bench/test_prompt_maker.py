"""Prompts have exactly the length that was asked for, whatever the tokenizer is like."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from observability.bench.errors import CannotMeasure
from observability.bench.workload.counter import TokenizerCounter
from observability.bench.workload.prompt_maker import PromptMaker
from tests.observability.bench import tokenizers_of_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = {
    "embedded": tokenizers_of_tests.embedded,
    "bytes_alone": tokenizers_of_tests.bytes_alone,
    "across_words": tokenizers_of_tests.across_words,
    "few_letters": tokenizers_of_tests.few_letters,
}


class CountedCounter(TokenizerCounter):
    """Keeps how many texts it was asked about."""

    num_texts = 0

    def counts(self, texts: Sequence[str]) -> list[int]:
        self.num_texts += len(texts)
        return super().counts(texts)


@pytest.fixture(scope="module", params=list(KINDS))
def counter(request: pytest.FixtureRequest) -> CountedCounter:
    return CountedCounter(KINDS[request.param]())


@pytest.fixture(scope="module")
def maker(counter: CountedCounter) -> PromptMaker:
    return PromptMaker(counter)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_texts_have_exactly_the_tokens_that_were_asked_for(
    maker: PromptMaker, counter: CountedCounter, lengths: list[int], seed: int
) -> None:
    texts = maker.texts(lengths, np.random.default_rng(seed))
    assert counter.counts(texts) == lengths
    assert all(text == text.strip() for text in texts)  # some chat templates strip
    assert maker.texts(lengths, np.random.default_rng(seed)) == texts


@given(st.integers(1, 200), st.integers(1, 100), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_text_that_goes_on_from_a_head_keeps_it_and_is_as_long_as_asked(
    maker: PromptMaker, counter: CountedCounter, num_head: int, num_more: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    (head,) = maker.texts([num_head], generator)
    draft = head + maker.draft(num_more, generator, is_first=False)
    (text,) = maker.fit([draft], [num_head + num_more], generator, [head])
    assert text.startswith(head)
    assert counter.count(text) == num_head + num_more


def test_texts_of_one_generator_are_unlike_from_their_beginning_on(maker: PromptMaker) -> None:
    texts = maker.texts([64] * 50, np.random.default_rng(0))
    assert len({text[:40] for text in texts}) == 50


def test_a_text_is_counted_about_once_where_words_are_tokens() -> None:
    counter = CountedCounter(tokenizers_of_tests.embedded())
    maker = PromptMaker(counter)
    asked = counter.num_texts
    assert asked < 1000
    maker.texts([256] * 100, np.random.default_rng(0))
    assert counter.num_texts == asked + 100


def test_many_long_prompts_take_seconds() -> None:
    maker = PromptMaker(TokenizerCounter(tokenizers_of_tests.embedded()))
    begin_s = time.monotonic()
    maker.texts([1024] * 200, np.random.default_rng(0))
    assert time.monotonic() - begin_s < 5


def test_a_tokenizer_that_knows_no_word_is_told_with_what_to_do() -> None:
    with pytest.raises(CannotMeasure, match="jsonl:FILE"):
        PromptMaker(TokenizerCounter(Tokenizer(models.BPE())))


def test_a_length_that_cannot_be_reached_is_told() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1}, []))

    class EvenCounter(TokenizerCounter):
        """Of a tokenizer that has two tokens for each letter."""

        def counts(self, texts: Sequence[str]) -> list[int]:
            return [2 * count for count in super().counts(texts)]

    maker = PromptMaker(EvenCounter(tokenizer))
    assert maker.texts([8], np.random.default_rng(0))
    with pytest.raises(CannotMeasure, match="exactly 7 tokens"):
        maker.texts([7], np.random.default_rng(0))
