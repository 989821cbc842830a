"""Calls with a head that names the function and a JSON object of arguments behind it."""

from __future__ import annotations

import re

import msgspec

from engine.text.tool_parsers.call_parser import CallParser
from engine.text.tool_parsers.json_scanner import JsonScanner

MAX_HEAD_CHARS = 1024


class HeadedForm(msgspec.Struct, frozen=True):
    """How a family writes such a call: `opening`, then `head` with the name as its first group,
    then the object, then the `closings`. A head holds no brace."""

    opening: str
    head: re.Pattern[str]
    closings: tuple[str, ...] = ()


class HeadedToolParser(CallParser):
    """Streams the arguments as the model writes them. All else is as `CallParser` says."""

    def __init__(self, form: HeadedForm) -> None:
        super().__init__(form.opening, form.closings)
        self._head = form.head
        self._room = MAX_HEAD_CHARS
        self._scanner = JsonScanner()

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
            self._start_call(match[1])
            self._scanner = JsonScanner()
            self._read = self._read_arguments
        elif is_complete or not self._room:
            self._give_back()
        return end

    def _read_arguments(self, text: str, place: int) -> int:
        end = self._scanner.scan(text, place)
        self._answer.give_arguments(text[place:end])
        if self._scanner.is_done:
            self._end_call()
        elif self._scanner.is_failed:
            self._give_back()
        return end
