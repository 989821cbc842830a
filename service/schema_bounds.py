"""JSON schemas of requests, within bounds that keep everybody else safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.body import decode, is_nested_deeper
from service.errors import BadRequest, PayloadTooLarge, ValidationFault
from service.structure import refused

if TYPE_CHECKING:
    from msgspec import Raw

MAX_NESTING = 64
MAX_SCHEMA_DEPTH = 32
MAX_PROPERTIES = 500
MAX_ENUM = 1000


def read_schema(raw: Raw, param: str, max_bytes: int) -> dict[str, object]:
    """A schema within its bounds. An absent one allows any JSON.

    Raises:
        PayloadTooLarge: it has more than `max_bytes`.
        ValidationFault: it is nested too deeply, or has too many of something.
        BadRequest: it is no JSON.
    """
    if len(raw) > max_bytes:
        raise PayloadTooLarge(f"`{param}` exceeds {max_bytes} bytes.", param=param)
    if is_nested_deeper(bytes(raw), MAX_NESTING):  # one in a string has not been looked at
        raise ValidationFault(f"`{param}` is nested too deeply.", param=param)
    try:
        schema = decode(raw, dict[str, object] | None, param) or {}  # type: ignore[arg-type]
    except BadRequest:
        raise refused(param, "it is no JSON") from None
    sizes = _Sizes()
    sizes.add(schema, 0)
    for name, size, limit in (
        ("levels", sizes.depth, MAX_SCHEMA_DEPTH),
        ("properties", sizes.num_properties, MAX_PROPERTIES),
        ("enum values", sizes.num_enum_values, MAX_ENUM),
    ):
        if size > limit:
            raise ValidationFault(f"`{param}` has more than {limit} {name}.", param=param)
    return schema


class _Sizes:
    """How deep and how broad a schema is; a level is a schema within a schema."""

    def __init__(self) -> None:
        self.depth = 0
        self.num_properties = 0
        self.num_enum_values = 0

    def add(self, value: object, depth: int) -> None:
        if isinstance(value, list):
            for item in value:
                self.add(item, depth)
        elif isinstance(value, dict):
            self.depth = max(self.depth, depth + 1)
            for key, child in value.items():
                if key == "properties" and isinstance(child, dict):
                    self.num_properties += len(child)
                    for each in child.values():
                        self.add(each, depth + 1)
                elif key == "enum" and isinstance(child, list):
                    self.num_enum_values += len(child)
                elif key not in ("const", "default", "examples"):
                    self.add(child, depth + 1)
