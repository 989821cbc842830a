"""The types of a function's arguments, for formats that write all values as bare text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Tools = Sequence[Mapping[str, object]]
Types = frozenset[str]

TEXT: Types = frozenset(["string"])
NO_TEXT: Types = frozenset(["null", "boolean", "integer", "number", "array", "object"])
_UNKNOWN: Types = frozenset()
_MAX_DEPTH = 16
_MAX_CHOICES = 64
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
                schema = known.get(argument) if isinstance(known, Mapping) else None
                return types_of(schema, parameters)
        return _UNKNOWN


def types_of(schema: object, root: object, depth: int = 0) -> Types:
    """The types of the values that a schema allows, as far as it names them; `root` is what its
    references are to. The empty set: unknown."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return _UNKNOWN
    if (named := schema.get("type")) is not None:
        names = named if isinstance(named, list) else [named]
        return frozenset(name for name in names if isinstance(name, str))
    if isinstance(reference := schema.get("$ref"), str):
        return types_of(referred(reference, root), root, depth + 1)
    if isinstance(choices := schema.get("anyOf") or schema.get("oneOf"), list):
        each = [types_of(choice, root, depth + 1) for choice in choices[:_MAX_CHOICES]]
        return frozenset().union(*each) if all(each) else _UNKNOWN
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return frozenset().union(*map(kinds_of, values))
    return _UNKNOWN


def referred(reference: str, root: object) -> object:
    """The schema among the definitions of `root` that a reference names; None if it names none."""
    parts = reference.split("/")
    if len(parts) != 3 or parts[0] != "#" or parts[1] not in ("$defs", "definitions"):
        return None
    table = root.get(parts[1]) if isinstance(root, Mapping) else None
    name = parts[2].replace("~1", "/").replace("~0", "~")
    return table.get(name) if isinstance(table, Mapping) else None


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
        # Numbers of any size are JSON: nobody asks what they are.
        value = json.loads(
            bare, parse_int=lambda _: 0, parse_float=lambda _: 0.0, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        return quoted(text)
    if isinstance(value, str):
        # Quotes around a string are its own, but where no string is asked for.
        return bare if types and "string" not in types else quoted(text)
    return bare if "string" not in types or types & kinds_of(value) else quoted(text)


def _refuse(name: str) -> None:
    """Python's reader takes NaN and Infinity, which JSON has not."""
    raise ValueError(name)


def kinds_of(value: object) -> Types:
    """The types that a value has."""
    match value:
        case str():
            return TEXT
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
