"""`Requirement`: a distribution and the versions of it that will do, as its metadata writes them.

As much of PEP 440 and PEP 508 as pyproject.toml uses: bounds on releases, no pre-releases.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    Release = tuple[int, ...]

_NAME = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;]*)(;.*)?")
_BOUND = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([\w.+!-]+)\s*")
_COMPARE: dict[str, Callable[[Release, Release], bool]] = {
    ">=": lambda version, bound: version >= bound,
    "<=": lambda version, bound: version <= bound,
    "==": lambda version, bound: version == bound,
    "!=": lambda version, bound: version != bound,
    ">": lambda version, bound: version > bound,
    "<": lambda version, bound: version < bound,
}


class Requirement(msgspec.Struct, frozen=True):
    """`bounds` are operators and versions, all of which must hold."""

    name: str
    bounds: tuple[tuple[str, str], ...]
    is_optional: bool = False
    """It has a marker: it is needed on other machines, or for an extra."""

    @property
    def shown_bounds(self) -> str:
        """ ">=1.9,<2", or what stands for no bounds."""
        return ",".join(operator + version for operator, version in self.bounds) or "any version"

    def is_met_by(self, version: str) -> bool:
        """Whether this version will do."""
        return all(
            _COMPARE[operator](*_of_one_length(release_of(version), release_of(bound)))
            for operator, bound in self.bounds
        )


def parse(text: str) -> Requirement:
    """`anyio>=4.9,<5`. Raises ValueError for what is not written so."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is no requirement")
    name, listed, marker = match.groups()
    bounds = []
    for part in filter(None, listed.strip().strip("()").split(",")):
        bound = _BOUND.fullmatch(part)
        if bound is None:
            raise ValueError(f"{text}: {part} is not understood")
        bounds.append((bound[1], bound[2]))
    return Requirement(name, tuple(sorted(bounds, reverse=True)), bool(marker))


def release_of(version: str) -> Release:
    """The numbers before anything else: (2, 13, 0) of "2.13.0+cpu"."""
    match = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return tuple(int(number) for number in match[1].split(".")) if match else ()


def _of_one_length(left: Release, right: Release) -> tuple[Release, Release]:
    size = max(len(left), len(right))
    return (*left, *[0] * (size - len(left))), (*right, *[0] * (size - len(right)))
