"""The schemas inside a JSON schema, and the way to each."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        if key in KEYS_OF_DATA:
            continue
        if key in KEYS_BY_NAME and isinstance(item, dict):
            inside = [(f"/{_step(key)}/{_step(name)}", each) for name, each in item.items()]
        elif isinstance(item, list):
            inside = [(f"/{_step(key)}/{index}", each) for index, each in enumerate(item)]
        else:
            inside = [(f"/{_step(key)}", item)]
        yield from ((way, each) for way, each in inside if isinstance(each, dict))


def walk(
    schema: Mapping[str, object], place: str = "#"
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The schema and all that are inside, with their places."""
    yield place, schema
    for way, child in children(schema):
        yield from walk(child, place + way)


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
