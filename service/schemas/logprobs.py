"""Log-probabilities as chat completions tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.deltas import TokenScore

LEAST = -9999.0
"""What stands for minus infinity, which JSON does not have: OpenAI's own number."""


class TopLogprob(msgspec.Struct, frozen=True):
    """A token by its text, in which half a character is U+FFFD, and by its UTF-8 bytes."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token of the answer, and the likeliest ones in its place."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """Of one choice, or of one chunk of it."""

    content: list[TokenLogprob]
    refusal: None = None


def chat_logprobs(scores: Iterable[TokenScore]) -> ChatLogprobs:
    """The scores as OpenAI's clients expect them."""
    return ChatLogprobs(
        [
            TokenLogprob(
                _text(score.token),
                max(score.logprob, LEAST),
                tuple(score.token),
                [TopLogprob(_text(t), max(p, LEAST), tuple(t)) for t, p in score.top],
            )
            for score in scores
        ]
    )


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")
