"""`HeldScores`: log-probabilities of tokens, held until the tokens' text is certain.

A token whose text may turn out to be part of a stop string must not be told, its log-probability
included: the answer would leak the stop string that it leaves out.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from service.deltas import TokenScore

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.protocol import TokenLogprobs
    from engine.text.tokenizer import Tokenizer


class HeldScores:
    """The scores of one choice. For each token: `hold`, then `decoded` with the text that it gave,
    which may be none; `release` as text becomes certain; `take` what may go out.

    A token goes out once its last character is certain. One that gave no text (the first bytes of
    a character) goes with the next one that does. What is held when a stop string is complete is
    part of it, or reaches into it, and is never told.
    """

    def __init__(self, tokenizer: Tokenizer, num_chars_before: int = 0) -> None:
        """The choice has begun with so many characters that are none of these tokens'."""
        self._tokenizer = tokenizer
        self._num_chars_before = num_chars_before
        self._held: deque[tuple[int, TokenScore]] = deque()
        """Each with the number of characters up to its end."""
        self._unspoken: list[TokenScore] = []
        """The last ones, which gave no text yet."""
        self._released: list[TokenScore] = []
        self._num_decoded = 0
        self._num_released = 0

    def hold(self, logprobs: TokenLogprobs) -> None:
        """Take the score of the next token."""
        offset = self._num_chars_before + self._num_decoded
        self._unspoken.append(score_of(logprobs, self._tokenizer.token_bytes, offset))

    def decoded(self, text: str) -> None:
        """The detokenizer gave this text."""
        if text:
            self._num_decoded += len(text)
            self._held += [(self._num_decoded, score) for score in self._unspoken]
            self._unspoken.clear()

    def release(self, num_chars: int) -> None:
        """So many more characters are part of the answer."""
        self._num_released += num_chars
        while self._held and self._held[0][0] <= self._num_released:
            self._released.append(self._held.popleft()[1])

    def release_all(self) -> None:
        """The answer has ended, and not by a stop string."""
        self._released += [score for _, score in self._held] + self._unspoken
        self._held.clear()
        self._unspoken.clear()

    def take(self) -> tuple[TokenScore, ...]:
        """What may go out and has not yet."""
        taken = tuple(self._released)
        self._released.clear()
        return taken


def score_of(logprobs: TokenLogprobs, name: Callable[[int], bytes], offset: int) -> TokenScore:
    """What the engine says of a token, with the bytes that `name` gives for ids."""
    top = zip(logprobs.top_ids, logprobs.top_logprobs, strict=True)
    return TokenScore(
        name(logprobs.token_id),
        logprobs.logprob,
        tuple((name(token_id), logprob) for token_id, logprob in top),
        offset,
    )
