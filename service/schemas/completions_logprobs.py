"""Log-probabilities as legacy completions tell them: lists that run side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from service.schemas.logprobs import LEAST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.deltas import TokenScore


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """Of one choice, or of one chunk of it: an entry of each list for each token."""

    tokens: list[str]
    """Their text, in which half a character is U+FFFD."""
    token_logprobs: list[float | None]
    """Null for the first token of a prompt, which nothing precedes."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens in its place, and the token itself."""
    text_offset: list[int]
    """Where its text begins in that of the choice, in characters."""


def completion_logprobs(scores: Iterable[TokenScore]) -> CompletionLogprobs:
    """The scores as OpenAI's clients expect them."""
    logprobs = CompletionLogprobs([], [], [], [])
    for score in scores:
        is_first = math.isnan(score.logprob)
        logprobs.tokens.append(_text(score.token))
        logprobs.token_logprobs.append(None if is_first else max(score.logprob, LEAST))
        logprobs.top_logprobs.append(None if is_first else _top(score))
        logprobs.text_offset.append(score.offset)
    return logprobs


def _top(score: TokenScore) -> dict[str, float]:
    """By text: of tokens that look the same, as parts of characters do, the likeliest counts."""
    top: dict[str, float] = {}
    for token, logprob in (*score.top, (score.token, score.logprob)):
        text = _text(token)
        top[text] = max(logprob, top.get(text, LEAST))
    return top


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")
