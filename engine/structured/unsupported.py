"""What the library takes in a JSON schema and does not keep exactly: mended, or refused with its
place. Found by `tests/engine/test_schema_breadth.py` and the study in docs/experiments.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from engine.structured.control_characters import are_in_pattern, are_in_value
from engine.structured.subschemas import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BOUNDS = {
    "minimum": ("minimum", -1),
    "exclusiveMinimum": ("minimum", -1),
    "maximum": ("maximum", 1),
    "exclusiveMaximum": ("maximum", 1),
}
"""The bound that stands for it where it is too far out, and the side that it is on."""
_SIZES = frozenset({*_BOUNDS, "multipleOf"})
_DATA = frozenset({"const", "enum"})
_NUMBERS = _SIZES | _DATA
_PATTERNS = frozenset({"pattern", "patternProperties"})
_MENDED = frozenset({*_BOUNDS, "uniqueItems", "propertyNames", "format"})
_CHECKED = _NUMBERS | _PATTERNS | {"minProperties"}
_MAX_DIGITS = 15
_MAX_WHOLE = 2**53
_NEXT_TO_ZERO = 1e-9
_FORMATS_OF_NO_TEXT = frozenset(
    {
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float", "double", "decimal", "password", "binary", "byte"),
        *("path", "file-path", "directory-path"),
    }
)
"""Of OpenAPI and pydantic: notes for people and programs, which validators do not look at."""


def fault_in_schema(schema: Mapping[str, object]) -> str:
    """Where the schema would not be kept to, and why; "" if nothing is known."""
    if "draft-03" in str(schema.get("$schema", "")):
        return "#/$schema: draft 3 is not supported"
    far, has_integers = "", False
    for ways, inner in walk(schema):
        has_integers = has_integers or "integer" in str(inner.get("type", ""))
        if _CHECKED.isdisjoint(inner):
            continue
        for fault in _faults(inner):
            return "".join(("#", *ways, fault))
        if not far and (key := _far_constant(inner)):
            far = "".join(("#", *ways, f"/{key}: numbers of so many digits are not supported"))
    # As an integer the library counts no further than 64 bits, wherever the type is said.
    return far if has_integers else ""


def mended(schema: dict[str, object]) -> dict[str, object]:
    """One schema, without those inside, as the library keeps it: what allows everything is left
    out, and bounds are such as hold."""
    if _MENDED.isdisjoint(schema):
        return schema
    changed = {key: value for key, value in schema.items() if not _is_idle(key, value)}
    _narrow_bounds(changed)
    _leave_zero(changed)
    return changed


def _is_idle(key: str, value: object) -> bool:
    """Whether no value would be refused without it."""
    match key:
        case "uniqueItems":
            return value is False
        case "propertyNames":
            return value in ({}, True, {"type": "string"})
        case "format":
            return isinstance(value, str) and value in _FORMATS_OF_NO_TEXT
    return False


def _narrow_bounds(schema: dict[str, object]) -> None:
    """Bounds beyond what the library can count to become the widest that it can."""
    for bound, (key, sign) in _BOUNDS.items():
        value = schema.get(bound)
        if _is_number(value) and value * sign >= _MAX_WHOLE:
            del schema[bound]
            schema.setdefault(key, sign * (_MAX_WHOLE - 1))


def _leave_zero(changed: dict[str, object]) -> None:
    """The library writes 0 where 0 is excluded and the other bound is near. It does not where the
    bound is no more than near to 0."""
    for bound, exclusive, near in (
        ("minimum", "exclusiveMinimum", _NEXT_TO_ZERO),
        ("maximum", "exclusiveMaximum", -_NEXT_TO_ZERO),
    ):
        is_flag = changed.get(exclusive) is True  # draft 4
        key = bound if is_flag else exclusive
        if _is_number(changed.get(key)) and changed[key] == 0:
            changed[key] = near


def _faults(schema: Mapping[str, object]) -> Iterator[str]:
    yield from _number_faults(schema)
    for key in (key for key in schema if key in _DATA):
        if are_in_value(schema.get(key)):
            yield f"/{key}: control characters are not supported"
    for key in (key for key in schema if key in _PATTERNS):
        patterns = schema.get(key)
        for pattern in [patterns] if isinstance(patterns, str) else _names(patterns):
            if are_in_pattern(pattern):
                yield f"/{key}: control characters are not supported"
    # The library counts a name twice that is written twice.
    required = schema.get("required")
    num_required = len(set(map(str, required))) if isinstance(required, list) else 0
    least = schema.get("minProperties", 0)
    if _is_number(least) and least > max(1, num_required + 1):
        yield "/minProperties: more than one property that is not in `required` is not supported"


def _number_faults(schema: Mapping[str, object]) -> Iterator[str]:
    for key in (key for key in schema if key in _NUMBERS):
        is_size = key in _SIZES
        for number in _numbers(schema.get(key)):
            if not _is_exact(number) or (is_size and abs(number) >= _MAX_WHOLE):
                yield f"/{key}: numbers of so many digits are not supported"


def _far_constant(schema: Mapping[str, object]) -> str:
    """The key whose values have a number that is whole and large; "" for none."""
    for key in (key for key in schema if key in _DATA):
        if any(abs(number) >= _MAX_WHOLE for number in _numbers(schema.get(key))):
            return key
    return ""


def _numbers(value: object) -> Iterator[int | float]:
    """All that stand in a value."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif _is_number(value):
            yield value


def _names(value: object) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_exact(number: float) -> bool:
    """Whether the library reads the very same number."""
    if isinstance(number, int):
        return abs(number) < _MAX_WHOLE
    return float(f"{number:.{_MAX_DIGITS}g}") == number
