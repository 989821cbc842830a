"""`input_validation = lenient`: unknown fields are taken out of a body and reported.

Everything else is checked as strictly as ever: a known field of a wrong type is no typo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from service.errors import UnknownField

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MAX_IGNORED = 16
MAX_BYTES = 16 * 2**20
"""Each kind of unknown field costs another pass over the body: so many bytes are passed over."""


def parse_leniently(body: bytes, parse: Callable[[bytes], T]) -> tuple[T, list[str]]:
    """What `parse` makes of the body without its unknown fields, and the paths of these.

    A field that is unknown in one object of a list is taken out of all that are of its kind, so
    that a field in each message counts as one, named by its first place.

    Raises whatever `parse` raises, also for one unknown field too many.
    """
    ignored: list[str] = []
    tree: object = None
    while True:
        try:
            return parse(body), ignored
        except UnknownField as fault:
            if len(ignored) == MAX_IGNORED or (len(ignored) + 1) * len(body) > MAX_BYTES:
                raise
            try:
                tree = msgspec.json.decode(body) if tree is None else tree
                _remove(tree, fault)
                body = msgspec.json.encode(tree)
            except (LookupError, TypeError, OverflowError, msgspec.MsgspecError):
                raise fault from None
            ignored.append(fault.param or "")


def _remove(tree: object, fault: UnknownField) -> None:
    """Take the field out of its object and of those like it. Raises LookupError, TypeError."""
    one = tree
    for step in fault.parent:
        one = one[step]  # type: ignore[index]
    kind = _kind_of(one)
    for each in _objects_at(tree, fault.parent):
        if _kind_of(each) == kind:
            each.pop(fault.name, None)
    if fault.name in cast("dict[str, object]", one):
        raise LookupError


def _objects_at(tree: object, path: tuple[str | int, ...]) -> Iterator[dict[str, object]]:
    """All objects at a path whose indexes stand for any index."""
    if not path:
        if isinstance(tree, dict):
            yield tree
    elif isinstance(path[0], int):
        for item in tree if isinstance(tree, list) else ():
            yield from _objects_at(item, path[1:])
    elif isinstance(tree, dict) and path[0] in tree:
        yield from _objects_at(tree[path[0]], path[1:])


def _kind_of(value: object) -> tuple[object, object]:
    """What decides which fields an object may have."""
    assert isinstance(value, dict)
    return str(value.get("role")), str(value.get("type"))
