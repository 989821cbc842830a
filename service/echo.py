"""The prompt as the beginning of a choice: its text, and what its tokens scored."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from engine.text.detokenizer import Detokenizer
from service.deltas import UNSCORED, TokenScore
from service.held_scores import score_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.protocol import TokenLogprobs
    from engine.text.tokenizer import Tokenizer

_MAX_SKIPPED = 8
"""Characters that no token says: blanks around a special token."""


def echo_scores(
    tokenizer: Tokenizer,
    text: str,
    token_ids: Sequence[int],
    logprobs: Sequence[TokenLogprobs | None],
) -> tuple[TokenScore, ...]:
    """One for each token of the prompt. Slow for long prompts."""
    name = cache(tokenizer.token_bytes)  # the likeliest tokens are much the same in every place
    offsets = _offsets(tokenizer, text, token_ids)
    return tuple(
        TokenScore(name(token_id), UNSCORED, (), offset)
        if scored is None
        else score_of(scored, name, offset)
        for token_id, scored, offset in zip(token_ids, logprobs, offsets, strict=True)
    )


def _offsets(tokenizer: Tokenizer, text: str, token_ids: Sequence[int]) -> Iterator[int]:
    """Where each token begins in the text. They can say a little more than the text, which has no
    BOS, or less: then what follows is looked for nearby."""
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    at = 0
    for token_id in token_ids:
        piece = detokenizer.push((token_id,))
        found = text.find(piece, at, at + len(piece) + _MAX_SKIPPED)
        if found < 0:  # not in the text: a BOS, or letters that a normalizer has changed
            yield at
            at = min(at + (0 if token_id in tokenizer.added_tokens else len(piece)), len(text))
        else:
            yield found
            at = found + len(piece)
