"""Tool calls as Hermes, Qwen and kvorum-mini write them.

``<tool_call>{"name": "f", "arguments": {...}}</tool_call>``, any number of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from engine.text.tag_finder import TagFinder
from engine.text.tool_parsers.base import ContentDelta, ToolCallArguments, ToolCallStart
from engine.text.tool_parsers.json_scanner import JsonScanner

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.text.tool_parsers.base import Delta

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
# As far as this the arguments can be streamed; other orders of members wait for the whole call.
_HEADER = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_MAX_HEADER_CHARS = 1024
_MAX_MALFORMED = 100
_NO_ARGUMENTS = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = _NO_ARGUMENTS
    parameters: msgspec.Raw = _NO_ARGUMENTS


class HermesToolParser:
    """The calls of one message, streamed: a start as soon as the name is known, then arguments.

    - Content goes out at once, but for an end that may begin `<tool_call>`. White space alone
      before, between and behind calls is dropped.
    - What is no call, or is cut off before its start went out, is content, to the last character.
    - A call that turns out broken after its start keeps the arguments that went out; the rest is
      content from the fault on.
    - A missing last brace or closing tag is forgiven. After 100 malformed calls everything is
      content, which keeps the cost of a hostile text linear.

    However the text is split, the deltas joined are the same.
    """

    def __init__(self) -> None:
        self._read: Callable[[str, int], int] = self._read_content
        self._deltas: list[Delta] = []
        self._num_calls = 0
        self._num_malformed = 0
        self._opening = TagFinder(_OPEN)
        self._blanks: list[str] = []  # white space that is content only if text follows it
        self._is_in_text = False
        self._raw: list[str] = []  # what was read of a call or of its end, in case it is none
        self._header: str | None = None
        self._scanner = JsonScanner()

    def push(self, text: str) -> list[Delta]:
        """Take more of the message's text; give what is certain."""
        place = 0
        while place < len(text):
            place = self._read(text, place)
        return self._take_deltas()

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest."""
        # What is left of a closing tag belongs to a call that is complete.
        rest = "" if self._read == self._read_closing_tag else "".join(self._raw)
        self._give_content(rest + self._opening.finish())
        if self._blanks and not self._num_calls:
            self._deltas.append(ContentDelta("".join(self._blanks)))
        return self._take_deltas()

    def _take_deltas(self) -> list[Delta]:
        """What this push has found, neighbouring contents as one."""
        taken: list[Delta] = []
        texts: list[str] = []
        for delta in self._deltas:
            if isinstance(delta, ContentDelta):
                texts.append(delta.text)
                continue
            if texts:
                taken.append(ContentDelta("".join(texts)))
                texts = []
            taken.append(delta)
        if texts:
            taken.append(ContentDelta("".join(texts)))
        self._deltas = []
        return taken

    def _read_content(self, text: str, place: int) -> int:
        if self._num_malformed >= _MAX_MALFORMED:
            self._give_content(text[place:])
            return len(text)
        before, end = self._opening.find(text, place)
        self._give_content(before)
        if end is None:
            return len(text)
        self._begin_call()
        return end

    def _begin_call(self) -> None:
        self._raw = [_OPEN]
        self._header = ""
        self._scanner = JsonScanner()
        self._read = self._read_call

    def _read_call(self, text: str, place: int) -> int:
        """Before the start has gone out."""
        if self._header is not None:
            room = _MAX_HEADER_CHARS - len(self._header)
            known = self._header + text[place : place + room]
            match = _HEADER.match(known)
            if match and (name := _decoded(match[1])):
                num_before = len(self._header)
                self._start_call(name)
                self._scanner = JsonScanner()
                self._read = self._read_arguments
                return place + match.end() - num_before
            self._header = known if len(known) < _MAX_HEADER_CHARS else None
        end = self._scanner.scan(text, place)
        self._raw.append(text[place:end])
        if self._scanner.is_done:
            self._complete_call()
        elif self._scanner.is_failed:
            self._give_back()
        return end

    def _complete_call(self) -> None:
        """The whole object is there, its members in another order than the usual one."""
        call = _parsed("".join(self._raw[1:]))
        if call is None:
            self._give_back()
            return
        name, arguments = call
        self._start_call(name)
        self._deltas.append(ToolCallArguments(self._num_calls - 1, arguments))
        self._read = self._read_closing_tag

    def _start_call(self, name: str) -> None:
        self._deltas.append(ToolCallStart(self._num_calls, name))
        self._num_calls += 1
        self._raw = []
        self._blanks = []
        self._is_in_text = False

    def _read_arguments(self, text: str, place: int) -> int:
        end = self._scanner.scan(text, place)
        if end > place:
            self._deltas.append(ToolCallArguments(self._num_calls - 1, text[place:end]))
        if self._scanner.is_done:
            self._scanner = JsonScanner(inside_object=True)
            self._read = self._read_last_members
        elif self._scanner.is_failed:
            self._give_back()
        return end

    def _read_last_members(self, text: str, place: int) -> int:
        """Behind the arguments, up to the brace that ends the call."""
        end = self._scanner.scan(text, place)
        self._raw.append(text[place:end])
        if self._scanner.is_done:
            self._raw = []
            self._read = self._read_closing_tag
        elif self._scanner.is_failed:
            if "".join(self._raw).isspace() or not any(self._raw):
                self._raw = []
                self._read = self._read_closing_tag
            else:
                self._give_back()
        return end

    def _read_closing_tag(self, text: str, place: int) -> int:
        """White space, then the tag; anything else is content already."""
        char = text[place]
        begun = "".join(self._raw)
        if char == _CLOSE[len(begun)]:
            self._raw.append(char)
            if begun + char == _CLOSE:
                self._raw, self._blanks = [], []
                self._read = self._read_content
            return place + 1
        if char.isspace() and not begun:
            self._blanks.append(char)
            return place + 1
        self._raw = []
        self._read = self._read_content
        self._read_content(begun, 0)
        return place

    def _give_back(self) -> None:
        """No call, or no longer one: what was read of it is content, and so is what follows."""
        self._num_malformed += 1
        rest, self._raw = "".join(self._raw), []
        self._read = self._read_content
        self._give_content(rest)

    def _give_content(self, text: str) -> None:
        if self._is_in_text and text:
            self._deltas.append(ContentDelta(text))
        elif text and not text.isspace():
            self._deltas.append(ContentDelta("".join([*self._blanks, text])))
            self._blanks = []
            self._is_in_text = True
        elif text:
            self._blanks.append(text)


def _decoded(quoted: str) -> str | None:
    try:
        return msgspec.json.decode(quoted.encode(), type=str)
    except ValueError:  # msgspec's DecodeError is one, as are lone surrogates
        return None


def _parsed(text: str) -> tuple[str, str] | None:
    """Name and arguments of a call, if it is one. Arguments may be quoted: JSON in a string."""
    try:
        call = msgspec.json.decode(text.encode(), type=_Call)
    except (ValueError, RecursionError):
        return None
    raw = call.arguments if call.arguments is not _NO_ARGUMENTS else call.parameters
    arguments = bytes(raw).decode()
    if arguments.startswith('"'):
        arguments = _decoded(arguments) or ""
    return (call.name, arguments) if call.name and arguments.lstrip().startswith("{") else None
