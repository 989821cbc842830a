"""What the library takes in a JSON schema and does not keep exactly: mended, or refused with its
place. Found by `tests/engine/test_schema_breadth.py` and the study in docs/experiments.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from engine.structured.subschemas import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MAX_DIGITS = 15
_MAX_WHOLE = 2**53
_NEXT_TO_ZERO = 1e-9


def fault_in_schema(schema: Mapping[str, object]) -> str:
    """Where the schema would not be kept to, and why; "" if nothing is known."""
    if "draft-03" in str(schema.get("$schema", "")):
        return "#/$schema: draft 3 is not supported"
    for place, inner in walk(schema):
        for fault in _faults(inner):
            return f"{place}{fault}"
    return ""


def with_bounds_that_hold(schema: dict[str, object]) -> dict[str, object]:
    """The library writes 0 where 0 is excluded and the other bound is near. It does not where the
    bound is no more than near to 0."""
    changed = dict(schema)
    for bound, exclusive, near in (
        ("minimum", "exclusiveMinimum", _NEXT_TO_ZERO),
        ("maximum", "exclusiveMaximum", -_NEXT_TO_ZERO),
    ):
        is_flag = schema.get(exclusive) is True  # draft 4
        key = bound if is_flag else exclusive
        if _is_number(schema.get(key)) and schema[key] == 0:
            changed[key] = near
    return changed


def _faults(schema: Mapping[str, object]) -> Iterator[str]:
    for key in (*_BOUNDS, "multipleOf", "const", "enum"):
        bound = key not in ("const", "enum")
        for number in _numbers(schema.get(key)):
            if not _is_exact(number) or (bound and abs(number) >= _MAX_WHOLE):
                yield f"/{key}: numbers of so many digits are not supported"
    # The library counts a name twice that is written twice.
    required = schema.get("required")
    num_required = len(set(map(str, required))) if isinstance(required, list) else 0
    least = schema.get("minProperties", 0)
    if _is_number(least) and least > max(1, num_required + 1):
        yield "/minProperties: more than one property that is not in `required` is not supported"


def _numbers(value: object) -> Iterator[int | float]:
    """All that stand in a value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif _is_number(value):
        yield value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_exact(number: float) -> bool:
    """Whether the library reads the very same number."""
    if isinstance(number, int):
        return abs(number) < _MAX_WHOLE
    return float(f"{number:.{_MAX_DIGITS}g}") == number
