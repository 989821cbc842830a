"""What a chunk of a streamed completion holds, as `chat_chunk` says it of a chat's."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.deltas import FinishReason
from service.schemas.completions_logprobs import CompletionLogprobs
from service.schemas.usage import Usage


class CompletionChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of one choice."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    """Of the tokens whose text has become certain with it."""
    finish_reason: FinishReason | None
    """In the last chunk of the choice."""


class CompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of a streamed completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    """Unix seconds."""
    model: str
    system_fingerprint: str
    choices: list[CompletionChunkChoice]
    """One; none in the chunk that tells the usage."""
    usage: Usage | UnsetType | None = UNSET
    """With `include_usage`: null, but in one more chunk at the end."""
