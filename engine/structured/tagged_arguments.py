"""Arguments between tags as Lark: strings as bare text, other values as JSON.

Such text is read by the types of its argument alone (see `engine.text.tool_parsers.argument_types`),
so not all that a schema can say of it can be promised. What cannot is refused, with its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from engine.structured.grammar import BadGrammar
from engine.structured.lark import literal
from engine.text.tool_parsers.argument_types import (
    NO_TEXT,
    TEXT,
    json_of,
    kinds_of,
    referred,
    types_of,
)

if TYPE_CHECKING:
    from engine.structured.lark import LarkWriter
    from engine.text.tool_parsers.call_shape import ArgumentShape

    Schema = Mapping[str, Any]

MAX_CHARS = 1 << 20
"""Of a grammar: definitions are written out for each argument that needs them."""

_KEY = re.compile(r"[^\s<>]{1,256}")
_MAX_DEPTH = 16
_SCALARS = NO_TEXT - {"array", "object"}
_NOTES = frozenset(
    {
        *("title", "description", "default", "examples", "deprecated"),
        *("$comment", "readOnly", "writeOnly"),
    }
)
_OF_ROOT = _NOTES | {
    *("$schema", "$id", "$defs", "definitions"),
    *("type", "properties", "required", "additionalProperties"),
}


class _Values(msgspec.Struct, frozen=True):
    """What a schema allows: these strings, any string of a length, and JSON of these schemas, of
    which True allows any."""

    strings: tuple[str, ...] = ()
    length: tuple[int, int | None] | None = None
    schemas: tuple[Schema | bool, ...] = ()

    @property
    def has_text(self) -> bool:
        return bool(self.strings) or self.length is not None


_ANY = _Values(length=(0, None), schemas=(True,))


def arguments(writer: LarkWriter, shape: ArgumentShape, schema: Schema) -> str:
    """Those of the schema, in its order; those that are not required may be left out.

    Raises BadGrammar: what the schema asks for cannot be promised."""
    _check_root(schema)
    parts = []
    for key, value in schema.get("properties", {}).items():
        if not _KEY.fullmatch(key):
            raise BadGrammar(f"`{key}` cannot be written as the name of an argument")
        try:
            written = _argument(writer, shape, key, value, schema)
        except BadGrammar as error:
            raise BadGrammar(f"`{key}`: {error}") from None
        parts.append(written if key in schema.get("required", ()) else f"({written})?")
        if writer.num_chars > MAX_CHARS:
            raise BadGrammar("it is too large")
    return " ".join(parts)


def loosened(schema: Schema) -> dict[str, Any]:
    """As much of any schema as can be promised: the names of the arguments, and their types."""
    declared, required = schema.get("properties"), schema.get("required")
    kept: dict[str, Any] = {}
    for key, value in declared.items() if isinstance(declared, Mapping) else ():
        types = types_of(value, schema)
        if _KEY.fullmatch(key):
            kept[key] = {"type": sorted(types)} if types and types <= NO_TEXT | TEXT else {}
    needed = [key for key in kept if isinstance(required, list) and key in required]
    return {"type": "object", "properties": kept, "required": needed}


def _check_root(schema: Schema) -> None:
    for key in schema:
        if key not in _OF_ROOT:
            raise BadGrammar(f"`{key}` cannot be promised of a function's arguments as a whole")
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        raise BadGrammar("`properties` is an object, and `required` is a list")
    for key in required:
        if key not in properties:
            raise BadGrammar("`required` names what is not among the `properties`")


def _argument(
    writer: LarkWriter, shape: ArgumentShape, key: str, schema: object, root: Schema
) -> str:
    values = _values(schema, root)
    types = types_of(schema, root)  # as the parser will take them
    before = f"{writer.written(shape.opening)} {literal(key)} {writer.written(shape.named)}"
    if values.length is not None:
        _check_any_text(values, types)
        least, most = values.length
        text = writer.until(shape.closing, (shape.value_end,), least=least, most=most)
        return f"{before} {text}"
    for string in values.strings:
        if shape.value_end in string or json.loads(json_of(string, types)) != string:
            raise BadGrammar("a string of it would be read as another value")
    each = [literal(string) for string in values.strings]
    if values.schemas:
        _check_json(values.schemas, types, root)
        each.append(writer.json(_with_definitions(_any_of(values.schemas), root)))
    return f"{before} {writer.rule(' | '.join(each))} {writer.written(shape.closing)}"


def _check_any_text(values: _Values, types: frozenset[str]) -> None:
    """Text that looks like JSON of another type is read as such: each must be right."""
    if True in values.schemas or types == TEXT:
        return
    plain = [
        isinstance(each, Mapping) and set(each) - _NOTES == {"type"} for each in values.schemas
    ]
    if not types or not all(plain):
        raise BadGrammar("text cannot be told from its other values")


def _check_json(schemas: Sequence[Schema | bool], types: frozenset[str], root: Schema) -> None:
    """Where no string is allowed all is read as JSON; else only what has no text within."""
    if types and types <= NO_TEXT:
        return
    kinds = types_of(_any_of(schemas), root)
    if not kinds or not kinds <= _SCALARS:
        raise BadGrammar("its type is not plain")


def _values(schema: object, root: Schema, depth: int = 0) -> _Values:
    if isinstance(schema, bool):
        if schema:
            return _ANY
        raise BadGrammar("it allows no value")
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        raise BadGrammar("it is no schema, or nested too deeply")
    keys = set(schema) - _NOTES
    if not keys:
        return _ANY
    if keys == {"$ref"}:
        return _values(_referred(schema["$ref"], root), root, depth + 1)
    if keys in ({"anyOf"}, {"oneOf"}):
        (kind,) = keys
        if not isinstance(schema[kind], list):
            raise BadGrammar(f"`{kind}` is a list")
        return _union(kind, [_values(choice, root, depth + 1) for choice in schema[kind]])
    if keys & {"enum", "const"}:
        return _of_data(schema, keys)
    if "type" not in keys:
        raise BadGrammar("its type is not said")
    return _of_type(schema, keys)


def _union(kind: str, each: list[_Values]) -> _Values:
    if len([values for values in each if values.length is not None]) > 1:
        raise BadGrammar(f"`{kind}` has two kinds of text")
    if kind == "oneOf":
        texts = [values for values in each if values.has_text]
        if len(texts) > 1 or any(True in values.schemas for values in each):
            raise BadGrammar("`oneOf` cannot be promised of text")
        apart = [_any_of(values.schemas) for values in each if values.schemas]
        schemas: tuple[Schema | bool, ...] = ({"oneOf": apart},) if len(apart) > 1 else (*apart,)
    else:
        schemas = tuple(schema for values in each for schema in values.schemas)
    return _Values(
        strings=tuple(string for values in each for string in values.strings),
        length=next((values.length for values in each if values.length is not None), None),
        schemas=schemas,
    )


def _of_data(schema: Schema, keys: set[str]) -> _Values:
    """Values that are told one by one."""
    if len(keys - {"type"}) > 1:
        raise BadGrammar("`enum` or `const` cannot be promised beside others")
    data = [schema["const"]] if "const" in keys else schema["enum"]
    types = types_of({"type": schema.get("type")}, schema)
    if not isinstance(data, list):
        raise BadGrammar("`enum` is a list")
    data = [value for value in data if not types or kinds_of(value) & types]
    others = [value for value in data if not isinstance(value, str)]
    if not data:
        raise BadGrammar("it allows no value")
    return _Values(
        strings=tuple(value for value in data if isinstance(value, str)),
        schemas=({"enum": others},) if others else (),
    )


def _of_type(schema: Schema, keys: set[str]) -> _Values:
    types = types_of(schema, schema)
    if "string" not in types:
        return _Values(schemas=(schema,))
    if others := keys - {"type", "minLength", "maxLength"}:
        raise BadGrammar(f"`{min(others)}` cannot be promised of bare text")
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    for bound in (least, 0 if most is None else most):
        if not isinstance(bound, int) or bound < 0:
            raise BadGrammar("the length of a text is a whole number")
    if most is not None and most < least:
        raise BadGrammar("it allows no value")
    rest = sorted(types - TEXT)
    return _Values(length=(least, most), schemas=({"type": rest},) if rest else ())


def _any_of(schemas: Sequence[Schema | bool]) -> Schema:
    (first, *rest) = schemas
    return first if not rest and isinstance(first, Mapping) else {"anyOf": list(schemas)}


def _with_definitions(schema: Schema, root: Schema) -> dict[str, Any]:
    """A document of its own, with the definitions that it refers to."""
    found: dict[str, object] = {}
    waiting: list[object] = [schema]
    while waiting:
        for reference in _references(waiting.pop()):
            if reference not in found:
                found[reference] = _referred(reference, root)
                waiting.append(found[reference])
    tables: dict[str, dict[str, object]] = {}
    for reference, definition in found.items():
        _, table, name = reference.split("/")
        tables.setdefault(table, {})[name.replace("~1", "/").replace("~0", "~")] = definition
    return {**schema, **tables}


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        for child in schema.values():
            yield from _references(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _references(child)


def _referred(reference: object, root: Schema) -> object:
    definition = referred(str(reference), root)
    if definition is None:
        raise BadGrammar("a reference of an argument must be to one of the `$defs`")
    return definition
