"""Where in a JSON schema the fault is that the library tells without a place, in better words."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote

from engine.structured.lark import OPTIONS
from engine.structured.subschemas import children, walk
from engine.text import json_pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    FaultOf = Callable[[str], str]

MAX_SEARCH_S = 0.5
_MAX_PLACE_CHARS = 100
_COMMON = ("$schema", "$id", "$defs", "definitions")
"""What references from inside need. One to anything else of the root ends the search early."""

_AT = re.compile(r"(?:at )?(\d+)\((\d+)\): (.*)", re.DOTALL)
_OF_SCHEMA = "failed to compile JSON schema: "
_REGEX = re.compile(r"invalid regex (\".*\") \(in regex\): ")
_LEFT_OUT = ("; following special tokens", " in a registry")
"""What follows these is of no use to anybody outside."""

_INTERNAL = ("lexer error: ", "Parser Error", "assertion failed", "internal error", "ff_tokens")
_TOO_COMPLEX = ("too many expressions", "fuel", "Too many items", "Current row has")

_BETTER_WORDS = {
    "NoExtensionBias": "no answer can follow it to an end",
    "oneOf constraints are not supported": "`oneOf` is supported only where the types, or constants "
    "of one property, tell its schemas apart; try `anyOf`",
    "Unimplemented keys": "these keywords are not supported",
    "lexer error": "it cannot be read from there on",
}


def with_place(fault: str, grammar: str, fault_of: FaultOf) -> str:
    """The fault of a grammar; with its place if that is a JSON schema which does not compile.
    `fault_of` compiles one and says what is wrong."""
    schema = _schema_of(grammar)
    place = _Search(schema, fault, fault_of).place() if schema is not None else ""
    if len(place) > _MAX_PLACE_CHARS:
        place = f"…{place[-_MAX_PLACE_CHARS:]}"
    return f"{place}: {_worded(fault)}" if place else _worded(fault)


def _schema_of(grammar: str) -> dict[str, object] | None:
    """None: it is of another kind."""
    try:
        schema = json.loads(grammar)["grammars"][0]["json_schema"]
    except (ValueError, LookupError, TypeError):
        return None
    return {k: v for k, v in schema.items() if k != OPTIONS} if isinstance(schema, dict) else None


class _Search:
    """Goes down to the innermost schema that has the fault when it is compiled alone. Among many
    schemas the one is found by halves, for each try compiles."""

    def __init__(self, root: dict[str, object], fault: str, fault_of: FaultOf) -> None:
        self._root = root
        self._fault = _first_line(fault)
        self._fault_of = fault_of
        self._end_s = time.monotonic() + MAX_SEARCH_S
        self._common = {key: root[key] for key in _COMMON if key in root}

    def place(self) -> str:
        """A JSON pointer; "" if it is the root, or not found."""
        if self._is_fault({"type": "null", "$defs": {"root": self._root}}):
            return self._unresolved()
        place, schema = "", self._root
        seen = {place}
        while step := self._inside(place, schema) or self._referred(schema):
            if step[0] in seen:
                break
            place, schema = step
            seen.add(place)
        return f"#{place}" if place else ""

    def _inside(
        self, place: str, schema: Mapping[str, object]
    ) -> tuple[str, dict[str, object]] | None:
        found = [(place + way, child) for way, child in children(schema)]
        # What nobody refers to is no fault, so definitions come last.
        found.sort(key=lambda each: each[0].startswith(("/$defs/", "/definitions/")))
        while len(found) > 1:
            half = found[: len(found) // 2]
            found = half if self._is_in(half) else found[len(half) :]
        return found[0] if found and self._is_in(found) else None

    def _referred(self, schema: Mapping[str, object]) -> tuple[str, dict[str, object]] | None:
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#/"):
            return None
        target: object = self._root
        for name in ref[2:].split("/"):
            target = target.get(json_pointer.read(name)) if isinstance(target, dict) else None
        return (unquote(ref[1:]), target) if isinstance(target, dict) else None

    def _unresolved(self) -> str:
        """All references are looked up before anything is compiled."""
        for ways, schema in walk(self._root):
            ref = schema.get("$ref")
            if isinstance(ref, str) and self._is_fault({"$ref": ref, "$defs": {"x": self._root}}):
                return "".join(("#", *ways)) if ways else ""
        return ""

    def _is_in(self, schemas: Sequence[tuple[str, object]]) -> bool:
        return self._is_fault({"anyOf": [schema for _, schema in schemas], **self._common})

    def _is_fault(self, schema: Mapping[str, object]) -> bool:
        """Whether a schema has the very fault. None has when time is up."""
        if time.monotonic() > self._end_s:
            return False
        text = json.dumps({"grammars": [{"json_schema": schema}]})
        return _first_line(self._fault_of(text)) == self._fault


def _first_line(fault: str) -> str:
    return fault.split("\n", 1)[0].strip()


def _last_error(fault: str) -> str:
    return _first_line(fault.rsplit("error: ", 1)[-1])


def _worded(fault: str) -> str:
    if found := _AT.match(fault):
        line, column, rest = found.groups()
        if rest.startswith(_OF_SCHEMA):  # whose text is one line of ours
            return _worded(rest.removeprefix(_OF_SCHEMA))
        if regex := _REGEX.match(rest):
            return f"{_last_error(rest)} in {regex[1]}"
        return f"line {line}, column {column}: {_worded(rest)}"
    line = _first_line(fault)
    if any(word in line for word in _TOO_COMPLEX) or line.startswith(_INTERNAL):
        return "it is too complex"
    for word in _LEFT_OUT:
        line = line.split(word, 1)[0]
    if line.endswith(":"):  # a picture of the regular expression follows, then what is wrong
        return f"{line} {_last_error(fault)}"
    for theirs, ours in _BETTER_WORDS.items():
        if line.startswith(theirs):
            return ours + (line.removeprefix(theirs) if ours.endswith("supported") else "")
    return line
