"""What an answer is made of while it grows: the words between the use case and the APIs.

In order: `Started`, then pieces of text and of tool calls, then one `End`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.text.tool_parsers.base import ContentDelta, ToolCallArguments, ToolCallStart

FinishReason = Literal["stop", "length", "tool_calls"]


class Started(msgspec.Struct, frozen=True, gc=False):
    """The engine works on it: from here on faults are part of the answer."""


class End(msgspec.Struct, frozen=True, gc=False):
    """The answer is complete; what it has cost in tokens."""

    finish_reason: FinishReason
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int


Delta = Started | ContentDelta | ToolCallStart | ToolCallArguments | End

__all__ = [
    "ContentDelta",
    "Delta",
    "End",
    "FinishReason",
    "Started",
    "ToolCallArguments",
    "ToolCallStart",
]
