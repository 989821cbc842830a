"""Arguments between tags as Lark: strings as bare text, other values as JSON.

Such text is read by the types of its argument alone (see `engine.text.tool_parsers.argument_types`),
so not all that a schema can say of it can be promised. What cannot is refused, with its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.structured.bare_values import NOTES, ValueReader, any_of
from engine.structured.definitions import Definitions
from engine.structured.grammar import BadGrammar
from engine.structured.lark import literal
from engine.text.tool_parsers.argument_types import NO_TEXT, TEXT, SchemaTypes, json_of

if TYPE_CHECKING:
    from engine.structured.bare_values import Schema, Values
    from engine.structured.lark import LarkWriter
    from engine.text.tool_parsers.argument_types import Types
    from engine.text.tool_parsers.call_shape import ArgumentShape

MAX_CHARS = 1 << 19
"""Of a grammar: definitions are written out for each argument that needs them."""

_KEY = re.compile(r"[^\s<>]{1,256}")
_SCALARS = NO_TEXT - {"array", "object"}
_OF_ROOT = NOTES | {
    *("$schema", "$id", "$defs", "definitions"),
    *("type", "properties", "required", "additionalProperties"),
}


def arguments(writer: LarkWriter, shape: ArgumentShape, schema: Schema) -> str:
    """Those of the schema, in its order; those that are not required may be left out.

    Raises BadGrammar: what the schema asks for cannot be promised."""
    _check_root(schema)
    required = _names(schema.get("required"))
    writing = _ArgumentWriter(writer, shape, schema)
    parts = []
    for key, value in schema.get("properties", {}).items():
        if not _KEY.fullmatch(key):
            raise BadGrammar(f"`{key}` cannot be written as the name of an argument")
        try:
            written = writing.argument(key, value)
        except BadGrammar as error:
            raise BadGrammar(f"`{key}`: {error}") from None
        parts.append(written if key in required else f"({written})?")
    return " ".join(parts)


def loosened(schema: Schema) -> dict[str, Any]:
    """As much of any schema as can be promised: the names of the arguments, and their types."""
    declared, required = schema.get("properties"), _names(schema.get("required"))
    known = SchemaTypes(schema)
    kept: dict[str, Any] = {}
    for key, value in declared.items() if isinstance(declared, Mapping) else ():
        types = known.of(value)
        if _KEY.fullmatch(key):
            kept[key] = {"type": sorted(types)} if types and types <= NO_TEXT | TEXT else {}
    needed = [key for key in kept if key in required]
    return {"type": "object", "properties": kept, "required": needed}


def _check_root(schema: Schema) -> None:
    for key in schema:
        if key not in _OF_ROOT:
            raise BadGrammar(f"`{key}` cannot be promised of a function's arguments as a whole")
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        raise BadGrammar("`properties` is an object, and `required` is a list")
    if not all(isinstance(key, str) and key in properties for key in required):
        raise BadGrammar("`required` names what is not among the `properties`")


def _names(required: object) -> set[str]:
    return (
        {key for key in required if isinstance(key, str)} if isinstance(required, list) else set()
    )


class _ArgumentWriter:
    """Writes the arguments of one function. What several have in common is written once."""

    def __init__(self, writer: LarkWriter, shape: ArgumentShape, root: Schema) -> None:
        self._writer = writer
        self._shape = shape
        self._definitions = Definitions(root)
        self._values = ValueReader(self._definitions)
        self._types = SchemaTypes(root)
        self._choices: dict[tuple[object, ...], tuple[Values, str]] = {}
        self._rules: dict[str, str] = {}
        self._literals: dict[tuple[str, Types], str] = {}

    def argument(self, key: str, schema: object) -> str:
        writer, shape = self._writer, self._shape
        values = self._values.of(schema)
        types = self._types.of(schema)  # as the parser will take them
        before = f"{writer.written(shape.opening)} {literal(key)} {writer.written(shape.named)}"
        if values.length is not None:
            _check_any_text(values, types)
            least, most = values.length
            text = writer.until(shape.closing, (shape.value_end,), least=least, most=most)
            return f"{before} {text}"
        same = (values.strings, *map(id, values.schemas), types)
        if same not in self._choices:  # with the values, whose schemas keep their ids so
            self._choices[same] = values, self._choice(values, types)
        return f"{before} {self._choices[same][1]} {writer.written(shape.closing)}"

    def _choice(self, values: Values, types: Types) -> str:
        """The rule for one of the strings, or JSON."""
        each = [self._string(string, types) for string in values.strings]
        if values.schemas:
            self._check_json(values.schemas, types)
            each.append(self._json(any_of(values.schemas)))
        self._check_size()
        return self._writer.rule(" | ".join(each))

    def _string(self, string: str, types: Types) -> str:
        if (string, types) not in self._literals:
            if self._shape.value_end in string or json.loads(json_of(string, types)) != string:
                raise BadGrammar("a string of it would be read as another value")
            self._literals[string, types] = literal(string)
        return self._literals[string, types]

    def _json(self, schema: Schema) -> str:
        said = json.dumps(schema)
        if said not in self._rules:
            num_left = self._check_size()
            document = self._definitions.document(schema, num_left - len(said))
            self._rules[said] = self._writer.json(document)
        return self._rules[said]

    def _check_size(self) -> int:
        """How much may still be written."""
        num_left = MAX_CHARS - self._writer.num_chars
        if num_left < 0:
            raise BadGrammar("it is too large")
        return num_left

    def _check_json(self, schemas: Sequence[Schema | bool], types: Types) -> None:
        """Where no string is allowed all is read as JSON; else only what has no text within."""
        if types and types <= NO_TEXT:
            return
        kinds = self._types.of(any_of(schemas))
        if not kinds or not kinds <= _SCALARS:
            raise BadGrammar("its type is not plain")


def _check_any_text(values: Values, types: Types) -> None:
    """Text that looks like JSON of another type is read as such: each must be right."""
    if True in values.schemas or types == TEXT:
        return
    if not types or not values.is_plain:
        raise BadGrammar("text cannot be told from its other values")
