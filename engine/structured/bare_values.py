"""What a schema allows of a value that is written bare: which strings, and which JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from engine.structured.grammar import BadGrammar
from engine.text.tool_parsers.argument_types import TEXT, SchemaTypes, kinds_of

if TYPE_CHECKING:
    from engine.structured.definitions import Definitions

Schema = Mapping[str, Any]

NOTES = frozenset(
    {
        *("title", "description", "default", "examples", "deprecated"),
        *("$comment", "readOnly", "writeOnly"),
    }
)
"""Keys that say nothing of a value."""

MAX_CHOICES = 50_000
"""Of all arguments together: definitions may be choices of each other."""

_MAX_DEPTH = 16


class Values(msgspec.Struct, frozen=True):
    """What a schema allows: these strings, any string of a length, and JSON of these schemas, of
    which True allows any."""

    strings: tuple[str, ...] = ()
    length: tuple[int, int | None] | None = None
    schemas: tuple[Schema | bool, ...] = ()

    @property
    def has_text(self) -> bool:
        return bool(self.strings) or self.length is not None

    @property
    def is_plain(self) -> bool:
        """Whether its JSON is any of some types."""
        return all(
            isinstance(each, Mapping) and set(each) - NOTES == {"type"} for each in self.schemas
        )


_ANY = Values(length=(0, None), schemas=(True,))


class ValueReader:
    """Reads the schemas of one document. All methods raise BadGrammar: what a schema asks for
    cannot be promised."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._known: dict[str, Values | None] = {}
        self._num_choices = 0

    def of(self, schema: object) -> Values:
        """The values of an argument."""
        return self._of(schema, 0)

    def _of(self, schema: object, depth: int) -> Values:
        if isinstance(schema, bool):
            if schema:
                return _ANY
            raise BadGrammar("it allows no value")
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            raise BadGrammar("it is no schema, or nested too deeply")
        keys = set(schema) - NOTES
        if not keys:
            return _ANY
        if keys == {"$ref"}:
            return self._as_whole(schema, self._referred(str(schema["$ref"]), depth))
        if keys in ({"anyOf"}, {"oneOf"}):
            (kind,) = keys
            if not isinstance(schema[kind], list):
                raise BadGrammar(f"`{kind}` is a list")
            each = [self._of(choice, depth + 1) for choice in schema[kind]]
            self._count(sum(len(values.strings) + len(values.schemas) for values in each))
            return self._as_whole(schema, _union(kind, each))
        if keys & {"enum", "const"}:
            return _of_data(schema, keys)
        if "type" not in keys:
            raise BadGrammar("its type is not said")
        return _of_type(schema, keys)

    def _referred(self, reference: str, depth: int) -> Values:
        """Each definition is read once."""
        if reference not in self._known:
            self._known[reference] = None
            self._known[reference] = self._of(self._definitions.of(reference), depth + 1)
        values = self._known[reference]
        if values is None:
            raise BadGrammar("it refers to itself")
        return values

    def _as_whole(self, schema: Schema, values: Values) -> Values:
        """JSON alone is left as the schema says it."""
        return values if values.has_text or values.is_plain else Values(schemas=(schema,))

    def _count(self, num_choices: int) -> None:
        self._num_choices += num_choices
        if self._num_choices > MAX_CHOICES:
            raise BadGrammar("it is too large")


def any_of(schemas: Sequence[Schema | bool]) -> Schema:
    """One schema for all of them."""
    (first, *rest) = schemas
    return first if not rest and isinstance(first, Mapping) else {"anyOf": list(schemas)}


def _union(kind: str, each: list[Values]) -> Values:
    if len([values for values in each if values.length is not None]) > 1:
        raise BadGrammar(f"`{kind}` has two kinds of text")
    if kind == "oneOf":
        texts = [values for values in each if values.has_text]
        if len(texts) > 1 or any(True in values.schemas for values in each):
            raise BadGrammar("`oneOf` cannot be promised of text")
        apart = [any_of(values.schemas) for values in each if values.schemas]
        schemas: list[Schema | bool] = [{"oneOf": apart}] if len(apart) > 1 else [*apart]
    else:
        schemas = _distinct(schema for values in each for schema in values.schemas)
    return Values(
        strings=tuple(dict.fromkeys(string for values in each for string in values.strings)),
        length=next((values.length for values in each if values.length is not None), None),
        schemas=tuple(schemas),
    )


def _distinct(schemas: Iterable[Schema | bool]) -> list[Schema | bool]:
    """The same one may be a choice many times."""
    return list({id(schema): schema for schema in schemas}.values())


def _of_data(schema: Schema, keys: set[str]) -> Values:
    """Values that are told one by one."""
    if len(keys - {"type"}) > 1:
        raise BadGrammar("`enum` or `const` cannot be promised beside others")
    data = [schema["const"]] if "const" in keys else schema["enum"]
    types = SchemaTypes(None).of({"type": schema["type"]}) if "type" in schema else frozenset()
    if not isinstance(data, list):
        raise BadGrammar("`enum` is a list")
    data = [value for value in data if not types or kinds_of(value) & types]
    others = [value for value in data if not isinstance(value, str)]
    if not data:
        raise BadGrammar("it allows no value")
    return Values(
        strings=tuple(value for value in data if isinstance(value, str)),
        schemas=({"enum": others},) if others else (),
    )


def _of_type(schema: Schema, keys: set[str]) -> Values:
    types = SchemaTypes(None).of(schema)
    if "string" not in types:
        return Values(schemas=(schema,))
    if others := keys - {"type", "minLength", "maxLength"}:
        raise BadGrammar(f"`{min(others)}` cannot be promised of bare text")
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    for bound in (least, 0 if most is None else most):
        if not isinstance(bound, int) or bound < 0:
            raise BadGrammar("the length of a text is a whole number")
    if most is not None and most < least:
        raise BadGrammar("it allows no value")
    rest = sorted(types - TEXT)
    return Values(length=(least, most), schemas=({"type": rest},) if rest else ())
