"""A form of tool calls: its name, the parser for it, and how a chat template shows it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from engine.text.tool_parsers.argument_types import Tools
from engine.text.tool_parsers.base import ToolParser
from engine.text.tool_parsers.call_shape import CallShape


class ToolFormat(msgspec.Struct, frozen=True):
    """How some models write their calls. Calling it makes a parser for one message.

    `name` is the one vLLM knows it by.
    """

    name: str
    new: Callable[[Tools], ToolParser]
    """From a request's tools as clients send them; only formats without types of their own look."""
    shape: Callable[[str], CallShape]
    """How its calls are written, by the source of the chat template."""
    marks: tuple[str, ...]
    """A template that has them all, and none of `foreign_marks`, uses the format."""
    foreign_marks: tuple[str, ...] = ()
    special_marks: tuple[str, ...] = ()
    """Those of its calls' marks that are special tokens."""

    @property
    def keeps_special_tokens(self) -> bool:
        """Whether text decoding must not leave out special tokens while there are tools."""
        return bool(self.special_marks)

    def is_used_by(self, template_source: str) -> bool:
        """Whether a chat template shows that its model was trained on this."""
        return all(mark in template_source for mark in self.marks) and not any(
            mark in template_source for mark in self.foreign_marks
        )

    def __call__(self, tools: Tools = ()) -> ToolParser:
        return self.new(tools)
