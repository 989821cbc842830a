"""Tool calls as Mistral's models write them, in an older form and in a newer one.

``[TOOL_CALLS][{"name": "f", "arguments": {...}}, ...]`` and ``[TOOL_CALLS]f[ARGS]{...}``, the mark
again before each call of the newer one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.text.tool_parsers.call_object import CallObject
from engine.text.tool_parsers.headed import MAX_HEAD_CHARS, HeadedForm, HeadedToolParser

if TYPE_CHECKING:
    from engine.text.tool_parsers.base import Delta

_FORM = HeadedForm(
    "[TOOL_CALLS]",
    # The id that some tokenizers put between is the model's own; the server makes another.
    re.compile(r"\s*([^\s\[\]{}\"]+)\s*(?:\[CALL_ID\][^\s\[\]]*\s*)?(?:\[ARGS\]\s*)?"),
)


class MistralToolParser(HeadedToolParser):
    """Both forms, and an object without a list around it. All else is as `CallParser` says."""

    def __init__(self) -> None:
        super().__init__(_FORM)
        self._object = CallObject(self._answer)
        self._is_list = False
        self._num_in_list = 0

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest. Separators behind a call are dropped."""
        if self._num_in_list and self._read == self._read_list:
            self._held = []
        return super().finish()

    def _begin_call(self) -> None:
        super()._begin_call()
        self._is_list = False
        self._num_in_list = 0
        self._read = self._read_form

    def _unread(self) -> str:
        held = self._object.held if self._read == self._read_object else ""
        return super()._unread() + held

    def _read_form(self, text: str, place: int) -> int:
        """The first character tells the forms apart."""
        char = text[place]
        if char == "{":
            return self._begin_object(place)
        if char == "[":
            self._is_list = True
            self._read = self._read_list
        elif not (char.isspace() and self._room):
            self._read = self._read_head
            return place
        self._room -= 1
        self._held.append(char)
        return place + 1

    def _begin_object(self, place: int) -> int:
        self._object = CallObject(self._answer)
        self._read = self._read_object
        return place

    def _read_object(self, text: str, place: int) -> int:
        num_calls = self._answer.num_calls
        end = self._object.read(text, place)
        if self._answer.num_calls > num_calls:
            self._opened, self._held = "", []
            self._num_in_list += 1
        if self._object.is_failed:
            held, self._held = self._unread(), []  # JSON is not read twice
            self._read = self._read_content
            self._give_back(held)
        elif self._object.is_done and self._is_list:
            self._room = MAX_HEAD_CHARS
            self._read = self._read_list
        elif self._object.is_done:
            self._end_call()
        return end

    def _read_list(self, text: str, place: int) -> int:
        """Between the objects of the list: commas, which may be missing, up to the bracket."""
        char = text[place]
        if char == "{":
            return self._begin_object(place)
        if char == "]" and self._num_in_list:
            self._end_call()
            return place + 1
        if self._room and (char.isspace() or (char == "," and self._num_in_list)):
            self._room -= 1
            self._held.append(char)
            return place + 1
        self._give_back()
        return place
