"""The schemas inside a JSON schema, and the way to each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text import json_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEYS_OF_DATA = frozenset({"const", "enum", "default", "examples"})
"""What they hold is no schema."""

KEYS_BY_NAME = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
)
"""They hold schemas by names of the user's choice."""


def children(schema: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    """The schemas right inside of it, each behind its part of a JSON pointer. Unknown keys may hold
    schemas too: a reference may lead there."""
    for key, item in schema.items():
        if key in KEYS_OF_DATA or not isinstance(item, dict | list):
            continue
        way = f"/{json_pointer.written(key)}"
        if isinstance(item, list):
            inside = [(f"{way}/{n}", each) for n, each in enumerate(item) if isinstance(each, dict)]
        elif key in KEYS_BY_NAME:
            inside = [
                (f"{way}/{json_pointer.written(name)}", each)
                for name, each in item.items()
                if isinstance(each, dict)
            ]
        else:
            inside = [(way, item)]
        yield from inside


def walk(
    schema: Mapping[str, object],
) -> Iterator[tuple[tuple[str, ...], Mapping[str, object]]]:
    """The schema and all that are inside, in their order, with the ways to them."""
    waiting: list[tuple[tuple[str, ...], Mapping[str, object]]] = [((), schema)]
    while waiting:
        ways, inner = waiting.pop()
        yield ways, inner
        if inner:
            waiting += [((*ways, way), child) for way, child in reversed([*children(inner)])]
