"""`Rule`: what is known of a Struct beyond its types, in JSON Schema."""

from __future__ import annotations

from typing import Any

import msgspec

Json = dict[str, Any]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Of one Struct."""

    bounds: dict[str, Json] = {}
    """Field → keywords that are added to its schema."""
    values: dict[str, Json] = {}
    """Field → what its schema is instead."""
    shapes: dict[str, tuple[Any, ...]] = {}
    """Field → the types that its JSON is decoded with later."""
    whole: Json = {}
    """Keywords of the object: how its fields go together."""


Rules = dict[type[msgspec.Struct], Rule]
"""A Struct that is no part of what a rule speaks of needs none."""
