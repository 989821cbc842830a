"""The seam for tool parsers: generated text in, content and calls out."""

from __future__ import annotations

from typing import Protocol

import msgspec


class ContentDelta(msgspec.Struct, frozen=True, tag=True):
    """More of the message's text."""

    text: str


class ToolCallStart(msgspec.Struct, frozen=True, tag=True):
    """A call begins. `index` counts from 0 without gaps; the caller makes the id if it is None."""

    index: int
    name: str
    id: str | None = None


class ToolCallArguments(msgspec.Struct, frozen=True, tag=True):
    """More of the JSON text of a call's arguments, as the model wrote it."""

    index: int
    text: str


Delta = ContentDelta | ToolCallStart | ToolCallArguments


class ToolParser(Protocol):
    """The parser of one message."""

    def push(self, text: str) -> list[Delta]:
        """Take more of the message's text; give what is certain. Changes the parser; never raises."""
        ...

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest. Nothing may be pushed afterwards; never raises."""
        ...
