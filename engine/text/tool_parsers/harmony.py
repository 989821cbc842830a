"""Tool calls as GPT-OSS writes them, in the harmony format: messages with a recipient.

``<|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>``. The prompt ends
with ``<|start|>assistant``; further messages begin with it.
"""

from __future__ import annotations

import re

from engine.text.tag_finder import TagFinder, end_of
from engine.text.tool_parsers.call_parser import CallParser

_BEGINNINGS = ("<|start|>", "<|channel|>")
_ENDS = ("<|call|>", "<|end|>", "<|return|>")
_MARKS = (*_BEGINNINGS, *_ENDS)
_MARK = re.compile("|".join(re.escape(mark) for mark in _MARKS))
_MAX_MARK_CHARS = max(len(mark) for mark in _MARKS)
_MESSAGE = "<|message|>"
_HEADER = re.compile(
    r"\s*(?:<\|start\|>)?([^<]*)(?:<\|channel\|>([^<]*)(?:<\|constrain\|>[^<]*)?)?"
)
_RECIPIENT = re.compile(r"(?:^|\s|assistant)to=(?:functions\.([^\s<>{}\"]+)|)")
_MAX_HEADER_CHARS = 1024
_SPACE = re.compile(r"\s*")


class HarmonyToolParser(CallParser):
    """The calls of one answer, and the text of its messages without their marks.

    A message in the channel "analysis", or to a tool that is no function, stays as it is, marks
    included: the first is for a reasoning parser to take out before. `<|` that begins no mark is
    content. All else is as `CallParser` says.
    """

    def __init__(self) -> None:
        super().__init__(_ENDS)
        self._read = self._read_start
        self._room = _MAX_HEADER_CHARS
        self._message = TagFinder(_MESSAGE)
        self._name = ""
        self._is_verbatim = False

    def _unread(self) -> str:
        held = self._message.finish() if self._read == self._read_header else ""
        return super()._unread() + held

    def _read_start(self, text: str, place: int) -> int:
        """The role has been written by the prompt: a recipient may come before the first mark."""
        begun = self._unread() + text[place]
        if "to=".startswith(begun.lstrip()) and len(begun) < _MAX_HEADER_CHARS:
            self._held = [begun]
            if begun.endswith("to="):
                self._begin_header(begun)
            return place + 1
        held, self._held = self._unread(), []
        self._read = self._read_content
        self._read_all(held)
        return place

    def _find_call(self, text: str, place: int) -> int:
        """Up to a mark; there are several here, and each is looked for at once."""
        if match := _MARK.search(text, place):
            self._answer.give_content(text[place : match.start()])
            self._take_mark(match[0])
            return match.end()
        begin = text.rfind("<", max(place, len(text) - _MAX_MARK_CHARS))
        if begin < 0 or not _begins_mark(text[begin:]):
            begin = len(text)
        self._answer.give_content(text[place:begin])
        if begin < len(text):
            self._held = [text[begin:]]
            self._read = self._read_mark
        return len(text)

    def _read_mark(self, text: str, place: int) -> int:
        """A mark that was cut between two pushes."""
        begun = self._unread()
        mark = begun + text[place]
        if mark in _MARKS:
            self._take_mark(mark)
        elif _begins_mark(mark):
            self._held = [mark]
        else:
            self._held = []
            self._read = self._read_content
            self._answer.give_content(begun)
            return place
        return place + 1

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
        self._room = _MAX_HEADER_CHARS
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
        header = self._opened + "".join(self._held)
        match = _HEADER.fullmatch(header)
        if match is None:
            self._held.append(_MESSAGE)
            self._read = self._read_object_start
            self._give_back()
            return
        channel = match[2] or ""
        recipient = _RECIPIENT.search(match[1]) or _RECIPIENT.search(channel)
        self._is_verbatim = False
        if recipient and recipient[1]:
            self._name = recipient[1]
            self._held.append(_MESSAGE)
            self._read = self._read_object_start
            return
        self._opened, self._held = "", []
        self._is_verbatim = recipient is not None or channel.split()[:1] == ["analysis"]
        self._answer.give_content(header + _MESSAGE if self._is_verbatim else "")
        self._read = self._read_content

    def _read_object_start(self, text: str, place: int) -> int:
        """White space, then the arguments, or it is no call."""
        end = end_of(_SPACE, text, place)
        self._held.append(text[place:end])
        if end == len(text):
            return end
        if text[end] == "{":
            self._start_object(self._name)
            return end
        held, self._held = "".join(self._held), []
        self._give_back(held)
        return end


def _begins_mark(text: str) -> bool:
    return any(mark.startswith(text) for mark in _MARKS)
