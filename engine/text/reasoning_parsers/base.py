"""The seams for reasoning: how a family of models marks it, and one message's parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from engine.text.tool_parsers.base import ContentDelta


class ReasoningDelta(msgspec.Struct, frozen=True, tag=True):
    """More of what the model thinks before it answers."""

    text: str


class ReasoningParser(Protocol):
    """The parser of one message. Reasoning may go on after content, in formats that allow it."""

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes next certainly belongs to the reasoning, its tags included."""
        ...

    def push(self, text: str) -> list[ReasoningDelta | ContentDelta]:
        """Take more of the message's text; give what is certain. Changes the parser; never raises."""
        ...

    def finish(self) -> list[ReasoningDelta | ContentDelta]:
        """The message has ended: give the rest. Nothing may be pushed afterwards; never raises."""
        ...


class ReasoningFormat(Protocol):
    """How some models mark their reasoning."""

    @property
    def name(self) -> str:
        """The one vLLM knows it by, where it has one."""
        ...

    @property
    def keeps_special_tokens(self) -> bool:
        """Whether its marks are special tokens, which text decoding must not leave out then."""
        ...

    def is_used_by(self, template_source: str) -> bool:
        """Whether a chat template shows that its model was trained on this."""
        ...

    def is_opened_by(self, prompt_text: str) -> bool:
        """Whether a rendered prompt (its end is enough) has begun the reasoning already."""
        ...

    def new(self, is_open: bool, *, keeps_calls: bool = False) -> ReasoningParser:
        """A parser for one message. `is_open`: its prompt has begun the reasoning. `keeps_calls`:
        a tool parser looks for calls in the content, so that their marks must stay in it."""
        ...
