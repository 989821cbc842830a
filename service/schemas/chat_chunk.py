"""What a chunk of a streamed chat holds. `chat_chunks` puts chunks together from bytes, so nothing
encodes these Structs: they describe, and tests hold the bytes against them.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.deltas import FinishReason
from service.schemas.logprobs import ChatLogprobs
from service.schemas.usage import Usage


class FunctionDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of a call's function."""

    name: str | UnsetType = UNSET
    """In the first piece of a call."""
    arguments: str
    """More of the JSON text."""


class CallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of one call."""

    index: int
    """Which of the choice's calls it is of."""
    id: str | UnsetType = UNSET
    """In the first piece of a call."""
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class MessageDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What a chunk adds to a choice: its role first, then pieces of text, reasoning or calls."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    """The same as `reasoning_content`, under the other name in use."""
    tool_calls: list[CallDelta] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of one choice."""

    index: int
    delta: MessageDelta
    logprobs: ChatLogprobs | None
    """Of the tokens whose text has become certain with it."""
    finish_reason: FinishReason | None
    """In the last chunk of the choice."""


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    """Unix seconds."""
    model: str
    service_tier: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    """One; none in the chunk that tells the usage."""
    usage: Usage | UnsetType | None = UNSET
    """With `include_usage`: null, but in one more chunk at the end."""
