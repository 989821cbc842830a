"""What the formats share in which one and the same mark opens each call."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from engine.text.tag_finder import TagFinder
from engine.text.tool_parsers.call_parser import CallParser

if TYPE_CHECKING:
    from engine.text.tool_parsers.base import Delta


class MarkedCallParser(CallParser):
    """A `CallParser` that looks for its opening mark. A format adds `_begin_call`."""

    def __init__(self, opening: str, closings: tuple[str, ...] = ()) -> None:
        """Raises ValueError for an empty opening mark."""
        super().__init__(closings)
        self._opening = opening
        self._finder = TagFinder(opening)

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest."""
        self._held.append(self._finder.finish())
        return super().finish()

    @abstractmethod
    def _begin_call(self) -> None:
        """The opening mark is complete: set `_read` to what reads the call."""

    def _find_call(self, text: str, place: int) -> int:
        before, end = self._finder.find(text, place)
        self._answer.give_content(before)
        if end is None:
            return len(text)
        self._opened = self._opening
        self._begin_call()
        return end
