"""Tool calls as Llama 3.1 to 3.3 write them: bare JSON, with no mark around it.

``{"name": "f", "parameters": {...}}``, several behind each other with ``;`` or newlines between.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.text.tag_finder import SPACE, end_of
from engine.text.tool_parsers.answer_deltas import AnswerDeltas
from engine.text.tool_parsers.call_object import CallObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.text.tool_parsers.base import Delta

_PYTHON_TAG = "<|python_tag|>"  # a special token: most often it is left out of the text
_SEPARATOR = re.compile(r"[\s;]*")


class LlamaToolParser:
    """The calls of one message. Only a message that begins with a call has any.

    - White space and ``<|python_tag|>`` may stand before the first call. JSON that is no call, such
      as an object with a name and no parameters, is content, once that is certain.
    - What follows a call and is no call is content, and so is everything behind it.
    - A call that turns out broken after its start keeps the arguments that went out.

    However the text is split, the deltas joined are the same. The cost is linear.
    """

    def __init__(self) -> None:
        self._answer = AnswerDeltas()
        self._read: Callable[[str, int], int] = self._read_start
        self._held: list[str] = []  # before a call; content if none follows
        self._tag = ""  # what was read of the tag
        self._object = CallObject(self._answer, is_bare=True)

    def push(self, text: str) -> list[Delta]:
        """Take more of the message's text; give what is certain."""
        place = 0
        while place < len(text):
            place = self._read(text, place)
        return self._answer.take()

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest. Separators behind the last call are dropped."""
        if self._read != self._read_separator:
            self._give_held()
        self._answer.end()
        return self._answer.take()

    def _read_start(self, text: str, place: int) -> int:
        """White space, perhaps the tag, then a call or content."""
        if not self._tag or self._tag == _PYTHON_TAG:
            end = end_of(SPACE, text, place)
            self._held.append(text[place:end])
            if end == len(text):
                return end
            place = end
            if text[place] == "{":
                return self._begin_call(place)
        known = self._tag + text[place]
        if _PYTHON_TAG.startswith(known):
            self._held.append(text[place])
            self._tag = known
            return place + 1
        return self._begin_content(place)

    def _begin_call(self, place: int) -> int:
        self._object = CallObject(self._answer, is_bare=True)
        self._read = self._read_object
        return place

    def _begin_content(self, place: int) -> int:
        self._give_held()
        self._read = self._read_content
        return place

    def _give_held(self) -> None:
        self._answer.give_content("".join(self._held) + self._object.held)
        self._held = []
        self._object = CallObject(self._answer, is_bare=True)

    def _read_object(self, text: str, place: int) -> int:
        num_calls = self._answer.num_calls
        end = self._object.read(text, place)
        if self._answer.num_calls > num_calls:
            self._held = []
        if self._object.is_done:
            self._read = self._read_separator
        elif self._object.is_failed:
            self._begin_content(end)
        return end

    def _read_separator(self, text: str, place: int) -> int:
        end = end_of(_SEPARATOR, text, place)
        self._held.append(text[place:end])
        if end == len(text):
            return end
        return self._begin_call(end) if text[end] == "{" else self._begin_content(end)

    def _read_content(self, text: str, place: int) -> int:
        self._answer.give_content(text[place:])
        return len(text)
