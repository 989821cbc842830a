"""The types of a function's arguments, for formats that write all values as bare text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

Tools = Sequence[Mapping[str, object]]
Types = frozenset[str]

TEXT: Types = frozenset(["string"])
_UNKNOWN: Types = frozenset()
# Templates write Python's values as Python prints them, and models learn it.
_PYTHON = {"True": "true", "False": "false", "None": "null"}


class ArgumentTypes:
    """Reads the schemas of a request's tools. Odd schemas are never an error: the type is unknown
    then, and the empty set says so."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def of(self, function: str, argument: str) -> Types:
        for tool in self._tools:
            declared = tool.get("function")
            if isinstance(declared, Mapping) and declared.get("name") == function:
                parameters = declared.get("parameters")
                known = parameters.get("properties") if isinstance(parameters, Mapping) else None
                return _types(known.get(argument)) if isinstance(known, Mapping) else _UNKNOWN
        return _UNKNOWN


def _types(schema: object) -> Types:
    if not isinstance(schema, Mapping):
        return _UNKNOWN
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset([named])
    if isinstance(named, list):
        return frozenset(name for name in named if isinstance(name, str))
    choices = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(choices, list):
        each = [
            choice.get("type") if isinstance(choice, Mapping) else None for choice in choices[:64]
        ]
        names = [name for name in each if isinstance(name, str)]
        return frozenset(names) if len(names) == len(each) else _UNKNOWN
    values = schema.get("enum")
    is_text = isinstance(values, list) and all(isinstance(value, str) for value in values)
    return TEXT if values and is_text else _UNKNOWN


def json_of(text: str, types: Types) -> str:
    """A value as JSON text.

    A text that may only be a string is one, even ``5``. Otherwise what is JSON of another kind
    stays as the model wrote it, if its kind is among the types or no string is; all else is a
    string. Without types ``5`` is therefore a number and ``five`` a string. Never raises.
    """
    if types == TEXT:
        return quoted(text)
    bare = text.strip()
    if types and "string" not in types:
        bare = _PYTHON.get(bare, bare)
    try:
        value = msgspec.json.decode(bare.encode())
    except (ValueError, RecursionError):
        return quoted(text)
    if isinstance(value, str):
        # Quotes around a string are its own, but where no string is asked for.
        return bare if types and "string" not in types else quoted(text)
    return bare if "string" not in types or types & _kinds(value) else quoted(text)


def _kinds(value: object) -> Types:
    match value:
        case None:
            return frozenset(["null"])
        case bool():
            return frozenset(["boolean"])
        case int():
            return frozenset(["integer", "number"])
        case float():
            return frozenset(["number"])
        case list():
            return frozenset(["array"])
    return frozenset(["object"])


def quoted(text: str) -> str:
    """Text as a JSON string. Pieces of a text, each without its quotes, joined are the whole."""
    return json.dumps(text, ensure_ascii=False)
