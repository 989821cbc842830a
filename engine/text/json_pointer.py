"""JSON pointers in the fragment of a reference (RFC 6901): the names in them, written and read."""

from __future__ import annotations

from urllib.parse import unquote


def written(name: str) -> str:
    """A name as a part of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def read(part: str) -> str:
    """The name that a part of a pointer stands for."""
    return unquote(part).replace("~1", "/").replace("~0", "~")
