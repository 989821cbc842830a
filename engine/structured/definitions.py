"""`Definitions`: a part of a schema as a document of its own, with what it refers to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from engine.structured.grammar import BadGrammar
from engine.structured.subschemas import KEYS_OF_DATA
from engine.text import json_pointer
from engine.text.tool_parsers.argument_types import referred

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Definition(msgspec.Struct, frozen=True):
    schema: object
    needs: tuple[str, ...]
    num_chars: int


class Definitions:
    """Those of one schema, `root`. Each is looked at once, however many documents need it."""

    def __init__(self, root: Mapping[str, object]) -> None:
        self._root = root
        self._known: dict[str, _Definition] = {}

    def of(self, reference: object) -> object:
        """The schema that a reference means. Raises BadGrammar: it means none."""
        return self._look_up(str(reference)).schema

    def document(self, schema: Mapping[str, object], max_chars: int) -> dict[str, Any]:
        """The schema with the definitions that it refers to, and those that these refer to.

        Raises BadGrammar: there are more than `max_chars` of them, or some are missing."""
        tables: dict[str, dict[str, object]] = {}
        waiting = list(_references(schema))
        seen = set(waiting)
        while waiting:
            reference = waiting.pop()
            definition = self._look_up(reference)
            max_chars -= definition.num_chars
            if max_chars < 0:
                raise BadGrammar("it is too large")
            _, table, name = reference.split("/")
            tables.setdefault(table, {})[json_pointer.read(name)] = definition.schema
            new = [each for each in definition.needs if each not in seen]
            seen.update(new)
            waiting += new
        return {**schema, **tables}

    def _look_up(self, reference: str) -> _Definition:
        if reference not in self._known:
            schema = referred(reference, self._root)
            if schema is None:
                raise BadGrammar("a reference of an argument must be to one of the `$defs`")
            needs = tuple(dict.fromkeys(_references(schema)))
            self._known[reference] = _Definition(schema, needs, len(json.dumps(schema)))
        return self._known[reference]


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        for key, child in schema.items():
            if key not in KEYS_OF_DATA:
                yield from _references(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _references(child)
