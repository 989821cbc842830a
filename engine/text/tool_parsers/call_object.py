"""One call as a JSON object: ``{"name": "f", "arguments": {...}}``, or "parameters" instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from engine.text.tool_parsers.json_scanner import JsonScanner

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.text.tool_parsers.answer_deltas import AnswerDeltas

# As far as this the arguments can be streamed; other orders of members wait for the whole call.
_HEADER = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
# A first member that no call has.
_OTHER_KEY = re.compile(r'\s*\{\s*"(?!(?:name|type|id|function|arguments|parameters)")[^"\\]*["\\]')
_MAX_HEADER_CHARS = 1024
_NO_ARGUMENTS = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = _NO_ARGUMENTS
    parameters: msgspec.Raw = _NO_ARGUMENTS


class CallObject:
    """Reads one object and gives its call: the start as soon as the name is known.

    `is_done`: the call is complete; a missing last brace is forgiven. `is_failed`: it is no call,
    or no longer one. `held` is what was read and not given out: content, if there is no more.
    With `is_bare` no mark has announced a call: an object with a name alone is none then, and
    one that begins with a member that no call has is none at once.
    """

    def __init__(self, answer: AnswerDeltas, *, is_bare: bool = False) -> None:
        self.is_done = False
        self.is_failed = False
        self._answer = answer
        self._is_bare = is_bare
        self._read: Callable[[str, int], int] = self._read_members
        self._raw: list[str] = []
        self._header: str | None = ""
        self._scanner = JsonScanner()

    @property
    def held(self) -> str:
        return "".join(self._raw)

    def read(self, text: str, place: int) -> int:
        """Take `text` from `place`; the place behind what belongs to the object."""
        while place < len(text) and not (self.is_done or self.is_failed):
            place = self._read(text, place)
        return place

    def _read_members(self, text: str, place: int) -> int:
        """Before the start has gone out."""
        if self._header is not None:
            room = _MAX_HEADER_CHARS - len(self._header)
            known = self._header + text[place : place + room]
            match = _HEADER.match(known)
            if match and (name := _decoded(match[1])):
                num_before = len(self._header)
                self._raw = []
                self._answer.start_call(name)
                self._scanner = JsonScanner()
                self._read = self._read_arguments
                return place + match.end() - num_before
            if self._is_bare and _OTHER_KEY.match(known):
                self.is_failed = True
                return place
            self._header = known if len(known) < _MAX_HEADER_CHARS else None
        end = self._scanner.scan(text, place)
        self._raw.append(text[place:end])
        if self._scanner.is_done:
            self._complete()
        self.is_failed = self.is_failed or self._scanner.is_failed
        return end

    def _complete(self) -> None:
        """The whole object is there, its members in another order than the usual one."""
        call = _parsed("".join(self._raw), self._is_bare)
        if call is None:
            self.is_failed = True
            return
        name, arguments = call
        self._raw = []
        self._answer.start_call(name)
        self._answer.give_arguments(arguments)
        self.is_done = True

    def _read_arguments(self, text: str, place: int) -> int:
        end = self._scanner.scan(text, place)
        self._answer.give_arguments(text[place:end])
        if self._scanner.is_done:
            self._scanner = JsonScanner(inside_object=True)
            self._read = self._read_last_members
        self.is_failed = self._scanner.is_failed
        return end

    def _read_last_members(self, text: str, place: int) -> int:
        """Behind the arguments, up to the brace that ends the call."""
        end = self._scanner.scan(text, place)
        self._raw.append(text[place:end])
        if self._scanner.is_done or (self._scanner.is_failed and not self.held.strip()):
            self._raw = []
            self.is_done = True
        else:
            self.is_failed = self._scanner.is_failed
        return end


def _decoded(quoted: str) -> str | None:
    try:
        return msgspec.json.decode(quoted.encode(), type=str)
    except ValueError:  # msgspec's DecodeError is one, as are lone surrogates
        return None


def _parsed(text: str, is_bare: bool) -> tuple[str, str] | None:
    """Name and arguments of a call, if it is one. Arguments may be quoted: JSON in a string."""
    try:
        call = msgspec.json.decode(text.encode(), type=_Call)
    except (ValueError, RecursionError):
        return None
    raw = call.arguments if call.arguments is not _NO_ARGUMENTS else call.parameters
    if is_bare and raw is _NO_ARGUMENTS:
        return None
    arguments = bytes(raw).decode()
    if arguments.startswith('"'):
        arguments = _decoded(arguments) or ""
    return (call.name, arguments) if call.name and arguments.lstrip().startswith("{") else None
