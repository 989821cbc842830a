"""`WordCosts`: what each word adds to a text, in tokens of the measured model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.errors import CannotMeasure
from observability.bench.workload.words import WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.workload.counter import Counter

_MIN_SINGLE_WORDS = 64
"""So many words of one token are variety enough: the others are not needed."""
_SHORT = tuple("abcdefghijklmnopqrstuvwxyz0123456789.,!?的是é")
"""For vocabularies that have no whole words, or not in Latin letters."""


class WordCosts(msgspec.Struct, frozen=True, kw_only=True):
    """Words with at least one token each. They are joined by spaces.

    The costs are what was seen with few words; a tokenizer may merge others. Whoever needs
    certainty counts the text.
    """

    words: tuple[str, ...]
    first: np.ndarray
    """Tokens of each word at the beginning of a text."""
    later: np.ndarray
    """Tokens that it adds after another word, with the space between."""

    @classmethod
    def measured(cls, counter: Counter) -> WordCosts:
        """Ask about each word once. Raises `CannotMeasure`, and what the counter does."""
        pairs = counter.counts([f"{word} {word}" for word in WORDS])
        single = [word for word, pair in zip(WORDS, pairs, strict=True) if pair == 2]
        if len(single) >= _MIN_SINGLE_WORDS:
            ones = np.ones(len(single), dtype=np.int64)
            return cls(words=tuple(single), first=ones, later=ones)
        words = [*WORDS, *(text for text in _SHORT if text not in WORDS)]
        firsts = counter.counts(words)
        pairs += counter.counts([f"{word} {word}" for word in words[len(WORDS) :]])
        useful = [
            (word, first, pair - first)
            for word, first, pair in zip(words, firsts, pairs, strict=True)
            if first > 0 and pair > first
        ]
        if not useful:
            raise CannotMeasure(
                "this tokenizer knows no word that prompts could be made of; measure your own "
                "prompts with --workload jsonl:FILE"
            )
        return cls(
            words=tuple(word for word, _, _ in useful),
            first=np.array([first for _, first, _ in useful]),
            later=np.array([later for _, _, later in useful]),
        )

    def text(self, drawn: Sequence[int] | np.ndarray, max_tokens: int, is_first: bool) -> str:
        """As many of the drawn words as fit into so many tokens; the rest up to that is filled.

        If it is not the first of a text it begins with a space.
        """
        costs = self.later[drawn]
        if is_first and len(drawn):
            costs[0] = self.first[drawn[0]]
        sums = np.cumsum(costs)
        num_words = int(np.searchsorted(sums, max_tokens, side="right"))
        text = " ".join([self.words[index] for index in drawn[:num_words]])
        num_missing = max_tokens - (int(sums[num_words - 1]) if num_words else 0)
        if text and not is_first:
            text = " " + text
        return text + self.filler(num_missing, is_first=is_first and not text)

    def filler(self, num_tokens: int, is_first: bool) -> str:
        """Something that probably adds so many tokens: a word if there is one, else letters."""
        if num_tokens <= 0:
            return ""
        fitting = np.flatnonzero((self.first if is_first else self.later) == num_tokens)
        if len(fitting):
            return ("" if is_first else " ") + self.words[int(fitting[0])]
        return self.words[int(np.argmin(self.first))] * num_tokens
