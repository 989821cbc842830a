"""What an answer is made of while it grows: the words between the use case and the APIs.

In order: `Started`, then for each choice pieces of it (`ChoiceDelta`) and its `ChoiceEnd`, mixed
with those of other choices; then one `End`. An echoed prompt is the first piece of each choice.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import msgspec

from engine.text.reasoning_parsers.base import ReasoningDelta
from engine.text.tool_parsers.base import ContentDelta, ToolCallArguments, ToolCallStart

FinishReason = Literal["stop", "length", "tool_calls"]

Delta = ContentDelta | ReasoningDelta | ToolCallStart | ToolCallArguments


class Started(msgspec.Struct, frozen=True, gc=False):
    """The engine works on it: from here on faults are part of the answer."""


UNSCORED = math.nan
"""The log-probability of a token that nothing precedes: the first one of a prompt."""


class TokenScore(msgspec.Struct, frozen=True, gc=False):
    """A token's bytes and natural log-probability, the same of the likeliest in its place, and
    where in the choice its text begins, in characters."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]
    offset: int = 0


class ChoiceDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a choice. `scores` are those of the tokens whose text has become certain with
    it; of all pieces together they are in the order of the tokens."""

    choice: int
    delta: Delta
    scores: tuple[TokenScore, ...] = ()


class ChoiceEnd(msgspec.Struct, frozen=True, gc=False):
    """A choice is complete."""

    choice: int
    finish_reason: FinishReason


class End(msgspec.Struct, frozen=True, gc=False):
    """All choices are complete; what they have cost in tokens, the prompt counted once."""

    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    num_reasoning_tokens: int = 0


AnswerEvent = Started | ChoiceDelta | ChoiceEnd | End


class AnswerSource(Protocol):
    """Where the events of an answer come from."""

    @property
    def is_over(self) -> bool:
        """Whether the `End` has been given out."""
        ...

    async def receive(self) -> list[AnswerEvent]:
        """Wait for events; never empty. Whoever gives up waiting loses none.

        Raises:
            ApiError: there will be no more.
        """
        ...


__all__ = [
    "UNSCORED",
    "AnswerEvent",
    "AnswerSource",
    "ChoiceDelta",
    "ChoiceEnd",
    "ContentDelta",
    "Delta",
    "End",
    "FinishReason",
    "ReasoningDelta",
    "Started",
    "TokenScore",
    "ToolCallArguments",
    "ToolCallStart",
]
