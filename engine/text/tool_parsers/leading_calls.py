"""Calls for a message that begins with one; a message that does not has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text.tool_parsers.base import ContentDelta

if TYPE_CHECKING:
    from engine.text.tool_parsers.base import Delta, ToolParser


class LeadingCallParser:
    """Leaves the message to `parser` if it begins with `mark`; else all of it is content, marks
    further on too. Only what may be the mark is held back."""

    def __init__(self, parser: ToolParser, mark: str) -> None:
        self._parser = parser
        self._mark = mark
        self._held = ""
        self._has_calls: bool | None = None

    def push(self, text: str) -> list[Delta]:
        """Take more of the message's text; give what is certain."""
        if self._has_calls is None:
            text, self._held = self._held + text, ""
            if len(text) < len(self._mark) and self._mark.startswith(text):
                self._held = text
                return []
            self._has_calls = text.startswith(self._mark)
        if self._has_calls:
            return self._parser.push(text)
        return [ContentDelta(text)] if text else []

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest."""
        if self._has_calls:
            return self._parser.finish()
        return [ContentDelta(self._held)] if self._held else []
