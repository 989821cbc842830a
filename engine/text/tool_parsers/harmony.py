"""Tool calls as GPT-OSS writes them, in the harmony format: messages with a recipient.

``<|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>``. The prompt ends
with ``<|start|>assistant``; further messages begin with it.
"""

from __future__ import annotations

from engine.text.harmony import CHANNEL, ENDS, MAX_HEADER_CHARS, MESSAGE, START, header_of
from engine.text.mark_finder import MarkFinder
from engine.text.tag_finder import SPACE, TagFinder, end_of
from engine.text.tool_parsers.call_parser import CallParser

_BEGINNINGS = (START, CHANNEL)


class HarmonyToolParser(CallParser):
    """The calls of one answer, and the text of its messages without their marks.

    A message in the channel "analysis", or to a tool that is no function, stays as it is, marks
    included: the first is for a reasoning parser to take out before. `<|` that begins no mark is
    content. All else is as `CallParser` says.
    """

    def __init__(self) -> None:
        super().__init__(ENDS)
        self._read = self._read_start
        self._room = MAX_HEADER_CHARS
        self._marks = MarkFinder((*_BEGINNINGS, *ENDS))
        self._message = TagFinder(MESSAGE)
        self._name = ""
        self._is_verbatim = False

    def _unread(self) -> str:
        finder = self._message if self._read == self._read_header else self._marks
        return super()._unread() + finder.finish()

    def _read_start(self, text: str, place: int) -> int:
        """The role has been written by the prompt: a recipient may come before the first mark."""
        begun = self._unread() + text[place]
        if "to=".startswith(begun.lstrip()) and len(begun) < MAX_HEADER_CHARS:
            self._held = [begun]
            if begun.endswith("to="):
                self._begin_header(begun)
            return place + 1
        held, self._held = self._unread(), []
        self._read = self._read_content
        self._read_all(held)
        return place

    def _find_call(self, text: str, place: int) -> int:
        before, mark, end = self._marks.find(text, place)
        self._answer.give_content(before)
        if mark:
            self._take_mark(mark)
        return end

    def _take_mark(self, mark: str) -> None:
        if mark in _BEGINNINGS:
            self._begin_header(mark)
            return
        self._held = []
        self._answer.give_content(mark if self._is_verbatim else "")
        self._is_verbatim = False
        self._read = self._read_content

    def _begin_header(self, begun: str) -> None:
        self._opened, self._held = begun, []
        self._room = MAX_HEADER_CHARS
        self._read = self._read_header

    def _read_header(self, text: str, place: int) -> int:
        part = text[place : place + self._room]
        before, end = self._message.find(part)
        self._held.append(before)
        if end is not None:
            self._begin_message()
            return place + end
        self._room -= len(part)
        if not self._room:
            self._give_back()
        return place + len(part)

    def _begin_message(self) -> None:
        text = self._opened + "".join(self._held)
        header = header_of(text)
        if header is None:
            self._held.append(MESSAGE)
            self._read = self._read_object_start
            self._give_back()
            return
        self._is_verbatim = False
        if header.function:
            self._name = header.function
            self._held.append(MESSAGE)
            self._read = self._read_object_start
            return
        self._opened, self._held = "", []
        self._is_verbatim = header.recipient is not None or header.channel == "analysis"
        self._answer.give_content(text + MESSAGE if self._is_verbatim else "")
        self._read = self._read_content

    def _read_object_start(self, text: str, place: int) -> int:
        """White space, then the arguments, or it is no call."""
        end = end_of(SPACE, text, place)
        self._held.append(text[place:end])
        if end == len(text):
            return end
        if text[end] == "{":
            self._start_object(self._name)
            return end
        held, self._held = "".join(self._held), []
        self._give_back(held)
        return end
