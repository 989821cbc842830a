"""Tool calls as Hermes, Qwen and kvorum-mini write them.

``<tool_call>{"name": "f", "arguments": {...}}</tool_call>``, any number of them.
"""

from __future__ import annotations

from engine.text.tool_parsers.call_object import CallObject
from engine.text.tool_parsers.marked_calls import MarkedCallParser


class HermesToolParser(MarkedCallParser):
    """The calls of one message, streamed: a start as soon as the name is known, then arguments.

    A missing last brace is forgiven. All else is as `CallParser` says.
    """

    def __init__(self) -> None:
        super().__init__("<tool_call>", ("</tool_call>",))
        self._object = CallObject(self._answer)

    def _begin_call(self) -> None:
        self._object = CallObject(self._answer)
        self._read = self._read_object

    def _unread(self) -> str:
        return self._object.held if self._read == self._read_object else super()._unread()

    def _read_object(self, text: str, place: int) -> int:
        num_calls = self._answer.num_calls
        end = self._object.read(text, place)
        if self._answer.num_calls > num_calls:
            self._opened = ""  # the start went out
        if self._object.is_done:
            self._end_call()
        elif self._object.is_failed:
            self._read = self._read_content  # JSON is not read twice
            self._give_back(self._object.held)
        return end
