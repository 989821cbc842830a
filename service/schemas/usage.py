"""What a request has cost in tokens, as OpenAI counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from service.deltas import End


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Parts of the prompt."""

    cached_tokens: int = 0
    """Found in the prefix cache."""
    audio_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """Parts of the answer; kinds that a text model never makes are 0."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request over all its choices; the prompt counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()

    @classmethod
    def of(cls, end: End) -> Usage:
        """Usage from what the engine and the text layer count."""
        return cls(
            end.num_prompt_tokens,
            end.num_output_tokens,
            end.num_prompt_tokens + end.num_output_tokens,
            PromptTokensDetails(end.num_cached_tokens),
            CompletionTokensDetails(end.num_reasoning_tokens),
        )
