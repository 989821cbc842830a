"""The types of a function's arguments, for formats that write all values as bare text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from engine.text import json_pointer

Tools = Sequence[Mapping[str, object]]
Types = frozenset[str]

TEXT: Types = frozenset(["string"])
NO_TEXT: Types = frozenset(["null", "boolean", "integer", "number", "array", "object"])
_UNKNOWN: Types = frozenset()
_MAX_DEPTH = 16
# Templates write Python's values as Python prints them, and models learn it.
_PYTHON = {"True": "true", "False": "false", "None": "null"}


class ArgumentTypes:
    """Reads the schemas of a request's tools. Odd schemas are never an error: the type is unknown
    then, and the empty set says so."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._functions: dict[str, _FunctionTypes] = {}

    def of(self, function: str, argument: str) -> Types:
        """Worked out once, however often an answer names them."""
        if function not in self._functions:
            self._functions[function] = _FunctionTypes(_parameters(self._tools, function))
        return self._functions[function].of(argument)


class _FunctionTypes:
    """The types of one function's arguments."""

    def __init__(self, parameters: object) -> None:
        declared = parameters.get("properties") if isinstance(parameters, Mapping) else None
        self._declared = declared if isinstance(declared, Mapping) else {}
        self._schemas = SchemaTypes(parameters)
        self._known: dict[str, Types] = {}

    def of(self, argument: str) -> Types:
        if argument not in self._known:
            self._known[argument] = self._schemas.of(self._declared.get(argument))
        return self._known[argument]


def _parameters(tools: Tools, function: str) -> object:
    for tool in tools:
        declared = tool.get("function")
        if isinstance(declared, Mapping) and declared.get("name") == function:
            return declared.get("parameters")
    return None


class SchemaTypes:
    """The types of the values that the schemas of one document allow; `root` is the document.

    The cost is linear, whatever refers to what: each definition is looked at once.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._known: dict[str, Types] = {}

    def of(self, schema: object) -> Types:
        """As far as the schema names them. The empty set: unknown."""
        waiting = list(_needed(schema))
        begun: set[str] = set()
        while waiting:
            reference = waiting.pop()
            if reference in self._known:
                continue
            definition = referred(reference, self._root)
            needed = [
                each
                for each in _needed(definition)
                if each not in self._known and each not in begun
            ]
            if needed and reference not in begun:
                begun.add(reference)
                waiting += [reference, *needed]
            else:  # what has been begun and is not known needs this one: nothing is known of it
                self._known[reference] = self._of(definition)
        return self._of(schema)

    def _of(self, schema: object, depth: int = 0) -> Types:
        """With what is known of the references."""
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return _UNKNOWN
        if (named := schema.get("type")) is not None:
            names = named if isinstance(named, list) else [named]
            return frozenset(name for name in names if isinstance(name, str))
        if isinstance(reference := schema.get("$ref"), str):
            return self._known.get(reference, _UNKNOWN)
        if isinstance(choices := schema.get("anyOf") or schema.get("oneOf"), list):
            each = [self._of(choice, depth + 1) for choice in choices]
            return frozenset().union(*each) if all(each) else _UNKNOWN
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            return frozenset().union(*map(kinds_of, values))
        return _UNKNOWN


def _needed(schema: object, depth: int = 0) -> Iterator[str]:
    """The references that the types of a schema depend on."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH or schema.get("type") is not None:
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield reference
    elif isinstance(choices := schema.get("anyOf") or schema.get("oneOf"), list):
        for choice in choices:
            yield from _needed(choice, depth + 1)


def referred(reference: str, root: object) -> object:
    """The schema among the definitions of `root` that a reference names; None if it names none."""
    parts = reference.split("/")
    if len(parts) != 3 or parts[0] != "#" or parts[1] not in ("$defs", "definitions"):
        return None
    table = root.get(parts[1]) if isinstance(root, Mapping) else None
    return table.get(json_pointer.read(parts[2])) if isinstance(table, Mapping) else None


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
