"""Follows a JSON value through streamed text: where it ends, or where it stops being JSON."""

from __future__ import annotations

import re

from engine.text.tag_finder import end_of

_MAX_DEPTH = 128
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING_PART = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})')
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?")
_SCALAR = re.compile(r"[-+.0-9A-Za-z]+")
_SCALAR_IS_JSON = re.compile(
    r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
)
_MAX_SCALAR_CHARS = 512

# What may come next. Inside an object or an array the stack says which.
_VALUE, _VALUE_OR_END, _KEY, _KEY_OR_END, _COLON, _NEXT = range(6)


class JsonScanner:
    """Strict JSON (RFC 8259), one value, in linear time however it is split.

    `is_done`: the value, an object or array, is complete. `is_failed`: what was scanned cannot
    be the beginning of JSON. Both are for good.
    """

    def __init__(self, *, inside_object: bool = False) -> None:
        """`inside_object`: begin behind a member's value, as if `{"a": 1` had been scanned."""
        self._stack = ["}"] if inside_object else []
        self._expected = _NEXT if inside_object else _VALUE
        self._is_key = False
        self._in_string = False
        self._escape = ""
        self._scalar = ""
        self.is_done = False
        self.is_failed = False

    @property
    def is_in_string(self) -> bool:
        """Whether what was scanned ends within a string."""
        return self._in_string and not self.is_failed

    def scan(self, text: str, start: int = 0) -> int:
        """Scan `text` from `start`; the place behind the value, at the fault, or the end."""
        place = start
        while place < len(text) and not (self.is_done or self.is_failed):
            if self._in_string:
                place = self._scan_string(text, place)
            elif self._scalar:
                place = self._scan_scalar(text, place)
            else:
                place = end_of(_SPACE, text, place)
                if place < len(text):
                    place = self._scan_token(text, place)
        return place

    def _scan_string(self, text: str, place: int) -> int:
        if self._escape:
            self._escape += text[place]
            if _ESCAPE.fullmatch(self._escape):
                self._escape = ""
            elif not _ESCAPE_BEGUN.fullmatch(self._escape):
                return self._fail(place)
            return place + 1
        place = end_of(_STRING_PART, text, place)
        if place == len(text):
            return place
        if text[place] == "\\":
            match = _ESCAPE.match(text, place)
            if match:
                return match.end()
            self._escape = "\\"
        elif text[place] == '"':
            self._in_string = False
            self._expected = _COLON if self._is_key else _NEXT
        else:
            return self._fail(place)
        return place + 1

    def _scan_scalar(self, text: str, place: int) -> int:
        match = _SCALAR.match(text, place)
        if match:
            num_left = _MAX_SCALAR_CHARS - len(self._scalar)
            self._scalar += match[0]
            # The same place however the text was split.
            return match.end() if len(match[0]) <= num_left else self._fail(place + num_left)
        if not _SCALAR_IS_JSON.fullmatch(self._scalar):
            return self._fail(place)
        self._scalar = ""
        self._expected = _NEXT
        return place

    def _scan_token(self, text: str, place: int) -> int:
        char = text[place]
        if self._expected == _COLON:
            self._expected = _VALUE
            return place + 1 if char == ":" else self._fail(place)
        if self._expected == _NEXT:
            return self._scan_next(char, place)
        if (
            self._stack
            and char == self._stack[-1]
            and self._expected in (_VALUE_OR_END, _KEY_OR_END)
        ):
            return self._close(place)
        if self._expected in (_KEY, _KEY_OR_END):
            if char != '"':
                return self._fail(place)
            self._in_string = self._is_key = True
            return place + 1
        return self._begin_value(char, place)

    def _scan_next(self, char: str, place: int) -> int:
        if char == self._stack[-1]:
            return self._close(place)
        self._expected = _KEY if self._stack[-1] == "}" else _VALUE
        return place + 1 if char == "," else self._fail(place)

    def _begin_value(self, char: str, place: int) -> int:
        if char in "{[":
            if len(self._stack) == _MAX_DEPTH:
                return self._fail(place)
            self._stack.append("}" if char == "{" else "]")
            self._expected = _KEY_OR_END if char == "{" else _VALUE_OR_END
        elif not self._stack:
            return self._fail(place)  # a call is an object; a bare string or number is none
        elif char == '"':
            self._in_string, self._is_key = True, False
        elif _SCALAR.match(char):
            self._scalar = char
        else:
            return self._fail(place)
        return place + 1

    def _close(self, place: int) -> int:
        self._stack.pop()
        self._expected = _NEXT
        self.is_done = not self._stack
        return place + 1

    def _fail(self, place: int) -> int:
        self.is_failed = True
        return place
