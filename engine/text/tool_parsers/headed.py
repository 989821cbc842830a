"""Calls with a head that names the function and a JSON object of arguments behind it."""

from __future__ import annotations

import re

import msgspec

from engine.text.tool_parsers.marked_calls import MarkedCallParser

MAX_HEAD_CHARS = 1024


class HeadedForm(msgspec.Struct, frozen=True):
    """How a family writes such a call: `opening`, then `head` with the name as its first group,
    then the object, then the `closings`. A head holds no brace."""

    opening: str
    head: re.Pattern[str]
    closings: tuple[str, ...] = ()


class HeadedToolParser(MarkedCallParser):
    """Streams the arguments as the model writes them. All else is as `CallParser` says."""

    def __init__(self, form: HeadedForm) -> None:
        super().__init__(form.opening, form.closings)
        self._head = form.head
        self._room = MAX_HEAD_CHARS

    def _begin_call(self) -> None:
        self._room = MAX_HEAD_CHARS
        self._read = self._read_head

    def _read_head(self, text: str, place: int) -> int:
        end = text.find("{", place, place + self._room)
        is_complete = end >= 0
        end = end if is_complete else min(place + self._room, len(text))
        self._held.append(text[place:end])
        self._room -= end - place
        if is_complete and (match := self._head.fullmatch(self._unread())):
            self._start_object(match[1])
        elif is_complete or not self._room:
            self._give_back()
        return end
