"""`input_validation = lenient`: unknown fields are taken out of a body and reported.

Everything else is checked as strictly as ever: a known field of a wrong type is no typo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from service.errors import UnknownField

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_IGNORED = 16
"""Each costs another pass over the body."""


def parse_leniently(body: bytes, parse: Callable[[bytes], T]) -> tuple[T, list[str]]:
    """What `parse` makes of the body without its unknown fields, and the paths of these.

    Raises whatever `parse` raises, also for the unknown field after `MAX_IGNORED`.
    """
    ignored: list[str] = []
    while True:
        try:
            return parse(body), ignored
        except UnknownField as fault:
            if len(ignored) == MAX_IGNORED:
                raise
            body = _without(body, fault)
            ignored.append(fault.param or "")


def _without(body: bytes, fault: UnknownField) -> bytes:
    """The body without that field; raises the fault itself where it cannot be found or told."""
    try:
        tree = msgspec.json.decode(body)
        parent = tree
        for step in fault.parent:
            parent = parent[step]
        del parent[fault.name]
        return msgspec.json.encode(tree)
    except (KeyError, IndexError, TypeError, OverflowError, msgspec.MsgspecError):
        raise fault from None
