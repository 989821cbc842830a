"""Calls in which tags surround each argument, and values are bare text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from engine.text.tag_finder import TagFinder
from engine.text.tool_parsers.argument_types import (
    NO_TEXT,
    TEXT,
    ArgumentTypes,
    Tools,
    Types,
    json_of,
    quoted,
)
from engine.text.tool_parsers.headed import MAX_HEAD_CHARS
from engine.text.tool_parsers.json_scanner import JsonScanner
from engine.text.tool_parsers.marked_calls import MarkedCallParser

if TYPE_CHECKING:
    from engine.text.tool_parsers.base import Delta


class TaggedForm(msgspec.Struct, frozen=True):
    """How a family writes such a call. Each pattern ends with the first `>`, but where noted."""

    opening: str
    name: re.Pattern[str]
    """Up to the name, its first group; a second one is read again as tags."""
    argument: re.Pattern[str]
    """From behind the name, or a value, to the next value; its first group is the key."""
    begun: re.Pattern[str] | None
    """What may become `argument` with the next `>`."""
    end: re.Pattern[str]
    value_end: str
    has_newlines: bool
    """Whether a newline on either side of a value belongs to the tags."""
    closings: tuple[str, ...] = ()


class TaggedToolParser(MarkedCallParser):
    """Makes JSON of the arguments; `tools` tell their types (see `argument_types.json_of`).

    A value that can only be a string is streamed, others come whole. One that can be no string is
    JSON, and the closing tag does not end it within a string of its own. A call that is cut inside
    a value keeps it as the beginning of JSON, or of a string where it may be one. A tag that is cut
    is dropped, once its call has begun. All else is as `CallParser` says.
    """

    def __init__(self, form: TaggedForm, tools: Tools = ()) -> None:
        super().__init__(form.opening, form.closings)
        self._form = form
        self._argument_types = ArgumentTypes(tools)
        self._room = MAX_HEAD_CHARS
        self._name = ""
        self._num_arguments = 0
        self._types: Types = TEXT
        self._value_end = TagFinder(form.value_end)
        self._scanner = JsonScanner()
        self._is_at_newline = False  # at the beginning of a value, one is dropped
        self._newline = ""  # one that is dropped if the value ends behind it

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest."""
        if self._read == self._read_value:
            self._finish_value()
        elif self._read == self._read_tags and self._unread().lstrip().startswith("<"):
            self._held = []
        return super().finish()

    def _finish_value(self) -> None:
        tag = self._value_end.finish()
        if self._scanner.is_in_string:
            self._take_value(tag)
            tag = ""
        newline = "\n" if tag and self._form.has_newlines else ""  # it belongs to the tag
        if self._types == TEXT:
            self._answer.give_arguments(quoted(self._newline.removesuffix(newline))[1:-1])
            return
        text, self._held = self._trimmed("".join(self._held)).removesuffix(newline), []
        if self._can_be_text:
            self._answer.give_arguments(quoted(text)[:-1])
        else:
            self._answer.give_arguments(text.lstrip())

    @property
    def _can_be_text(self) -> bool:
        return not self._types or not self._types <= NO_TEXT

    def _begin_call(self) -> None:
        self._room = MAX_HEAD_CHARS
        self._read = self._read_name

    def _read_name(self, text: str, place: int) -> int:
        end, is_complete = self._hold_tag(text, place)
        if is_complete and (match := self._form.name.fullmatch(self._unread())):
            self._name = match[1]
            self._num_arguments = 0
            self._start_call(self._name)
            self._answer.give_arguments("{")
            self._begin_tags()
            self._read_all(match[2] if self._form.name.groups > 1 else "")
        elif is_complete or not self._room:
            self._give_back()
        return end

    def _hold_tag(self, text: str, place: int) -> tuple[int, bool]:
        """Take text to the next `>`; give the place behind, and whether there is one."""
        end = text.find(">", place, place + self._room) + 1
        is_complete = end > 0
        end = end or min(place + self._room, len(text))
        self._held.append(text[place:end])
        self._room -= end - place
        return end, is_complete

    def _begin_tags(self) -> None:
        self._room = MAX_HEAD_CHARS
        self._read = self._read_tags

    def _read_tags(self, text: str, place: int) -> int:
        """Between the values."""
        end, is_complete = self._hold_tag(text, place)
        if not is_complete:
            if not self._room:
                self._give_back()
            return end
        known = self._unread()
        if match := self._form.argument.fullmatch(known):
            self._begin_value(match[1])
        elif self._form.end.fullmatch(known):
            self._answer.give_arguments("}")
            self._end_call()
        elif not (self._form.begun and self._form.begun.fullmatch(known)):
            self._give_back()
        return end

    def _begin_value(self, key: str) -> None:
        self._held = []
        self._types = self._argument_types.of(self._name, key)
        comma = ", " if self._num_arguments else ""
        mark = '"' if self._types == TEXT else ""
        self._answer.give_arguments(f"{comma}{quoted(key)}: {mark}")
        self._num_arguments += 1
        self._is_at_newline = self._form.has_newlines
        self._newline = ""
        self._scanner = JsonScanner()
        self._read = self._read_value

    def _read_value(self, text: str, place: int) -> int:
        before, end = self._value_end.find(text, place)
        self._take_value(before)
        if end is None:
            return len(text)
        if self._scanner.is_in_string:
            self._take_value(self._form.value_end)
            return end
        if self._types == TEXT:
            self._answer.give_arguments('"')
        else:
            value, self._held = self._trimmed("".join(self._held)), []
            value = value.removesuffix("\n") if self._form.has_newlines else value
            self._answer.give_arguments(json_of(value, self._types))
        self._begin_tags()
        return end

    def _take_value(self, text: str) -> None:
        if self._types != TEXT:
            self._held.append(text)
            if not self._can_be_text:
                self._scanner.scan(text)
            return
        if text and self._is_at_newline:
            text = text.removeprefix("\n")
            self._is_at_newline = False
        if text and self._form.has_newlines:
            text = self._newline + text
            self._newline = "\n" if text.endswith("\n") else ""
            text = text.removesuffix(self._newline)
        self._answer.give_arguments(quoted(text)[1:-1])

    def _trimmed(self, value: str) -> str:
        """Without the newline behind the tag."""
        return value.removeprefix("\n") if self._form.has_newlines else value
