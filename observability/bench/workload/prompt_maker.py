"""`PromptMaker`: texts of exactly so many tokens, as the measured model counts them.

They are common words in a random order: texts of one generator share no more than chance has it.
They neither begin nor end with a space, which some chat templates would take away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.bench.errors import CannotMeasure
from observability.bench.workload.word_costs import WordCosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from observability.bench.workload.counter import Counter

_MAX_TRIES = 24
_MAX_PATCHED = 8
"""Tokens that are mended by trying endings; what is more is filled with words first."""
_LETTERS = ("a", "e", "i", "x", "1", ".", "!", "的", "é")


class PromptMaker:
    """Whatever it gives was counted; what is the same (generator, lengths) is the same text."""

    def __init__(self, counter: Counter) -> None:
        """Asks the counter about each of some hundred words. Raises as that does."""
        self._counter = counter
        self._costs = WordCosts.measured(counter)

    def texts(self, lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
        """One text for each length, in tokens, at least 1. Raises `CannotMeasure`, `CannotAsk`."""
        drafts = [self.draft(length, generator) for length in lengths]
        return self.fit(drafts, lengths, generator)

    def draft(
        self,
        num_tokens: int,
        generator: np.random.Generator,
        *,
        num_drawn: int | None = None,
        is_first: bool = True,
    ) -> str:
        """A text that has probably so many tokens: nobody has counted it.

        If it is not the first of a text it begins with a space, to follow another. It is the
        beginning of a text of `num_drawn` tokens, of which it takes all chance.
        """
        drawn = generator.integers(0, len(self._costs.words), num_drawn or num_tokens)
        return self._costs.text(drawn, num_tokens, is_first)

    def fit(
        self,
        drafts: Sequence[str],
        lengths: Sequence[int],
        generator: np.random.Generator,
        heads: Sequence[str] | None = None,
    ) -> list[str]:
        """The drafts, changed at their ends where need be, of exactly so many tokens.

        Each keeps its head, with which its draft begins. Raises `CannotMeasure` if a length cannot
        be reached, and as the counter does.
        """
        counts = self._counter.counts(drafts)
        fitted = list(drafts)
        for index, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            if count != length:
                head = heads[index] if heads else ""
                fitted[index] = self._mend(fitted[index], count, length, head, generator)
        return fitted

    def _mend(
        self, text: str, count: int, length: int, head: str, generator: np.random.Generator
    ) -> str:
        for num_tries in range(1, _MAX_TRIES + 1):
            missing = length - count
            if 0 < missing <= _MAX_PATCHED:
                ended = self._with_ending(text, missing, length)
                if ended is not None:
                    return ended
                missing = -num_tries  # other words may have another end: ever more of them
            if missing < 0:
                text = _without_words(text, max(1, -missing // int(self._costs.later.max())), head)
            else:
                text += self.draft(missing, generator, is_first=not text)
            count = self._counter.count(text)
            if count == length:
                return text
        raise CannotMeasure(
            f"no text of exactly {length} tokens can be made for this tokenizer; ask for another "
            "length"
        )

    def _with_ending(self, text: str, missing: int, length: int) -> str | None:
        """The text with the first ending that makes up for what is missing."""
        endings = list(dict.fromkeys(self._endings(missing, is_first=not text)))
        counts = self._counter.counts([text + ending for ending in endings])
        for ending, count in zip(endings, counts, strict=True):
            if count == length:
                return text + ending
        return None

    def _endings(self, missing: int, is_first: bool) -> Iterator[str]:
        yield self._costs.filler(missing, is_first)
        for letter in _LETTERS:
            yield letter * missing
            yield (f" {letter}" * missing).removeprefix(" " if is_first else "")
        for num in range(1, 2 * _MAX_PATCHED):
            yield "a" * num


def _without_words(text: str, num_words: int, head: str) -> str:
    rest = text[len(head) :]
    # The part before the first space is a word too, if nothing is before it.
    words = rest.split(" ")
    kept = words[: max(0, len(words) - num_words)]
    return head + " ".join(kept)
