"""Refuses calls of built-in methods and filters that would make a value out of all proportion.

Judged beforehand, from the arguments alone: what such a call makes or how long it takes is known
only when it is too late.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jinja2.exceptions import SecurityError

from engine.text.templates.render_budget import MAX_NUMBER_BITS, SCALARS, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.text.templates.render_budget import RenderBudget

    Check = Callable[[RenderBudget, object, Sequence[object]], None]

MAX_SLOW_CHARS = 100_000
"""For what is written in Python, or takes more than linear time."""

_MAX_COMPARISONS = 200_000_000
_MAX_FIELDS = 10_000
_MAX_DIGITS = 400
_NUMBER = re.compile(r"\d+")
_LONG_NUMBER = re.compile(r"\d{7,}")
_CODECS = frozenset({"utf-8", "utf8", "ascii", "latin-1"})


def check_growth(
    budget: RenderBudget, name: str, subject: object, values: Sequence[object]
) -> None:
    """For the method or filter `name` of `subject`, called with `values`. Raises SecurityError."""
    check = _CHECKS.get(name)
    if check is not None:
        check(budget, subject, values)


def check_format(budget: RenderBudget, template: str, values: Sequence[object]) -> None:
    """For `%` and the methods and filters that format."""
    if _LONG_NUMBER.search(template):
        raise SecurityError("a chat template formats to a width of millions of characters")
    num_fields = template.count("{") + template.count("%")
    if num_fields > _MAX_FIELDS:
        raise SecurityError(f"a chat template formats {num_fields} values at once")
    widths = [int(number) for number in _NUMBER.findall(template)]
    if "*" in template or ":{" in template:
        widths += map(as_count, values)
    budget.check(num_fields * max(0, *widths, *map(budget.weigh, values)))


def check_power(base: object, exponent: object) -> None:
    """For `**`."""
    if isinstance(base, int) and isinstance(exponent, int):
        num_bits = base.bit_length() * max(exponent, 0)
        if num_bits > MAX_NUMBER_BITS:
            raise SecurityError(f"a chat template computes a number of {num_bits} bits")


def _check_format(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    if isinstance(subject, str | bytes):
        check_format(budget, str(subject), values)


def _check_width(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    budget.check(max(map(as_count, values), default=0))


def _check_replace(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    if isinstance(subject, str | bytes) and len(values) >= 2:
        budget.check(size_of(values[1]) * (_count(subject, values[0]) + 1))


def _check_join(budget: RenderBudget, separator: object, values: Sequence[object]) -> None:
    """As the method has it; the filter's subject is the list."""
    if values and isinstance(values[0], list | tuple | dict):
        budget.check(budget.weigh(values[0]) + size_of(separator) * len(values[0]))


def _check_lines(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    """Indented, wrapped, or with tabs: something is put in at every line or tab."""
    if isinstance(subject, str | bytes):
        longest = max(8, *map(as_count, values), *map(size_of, values))
        budget.check(longest * (_count(subject, "\t") + _count(subject, "\n") + 1))


def _check_translate(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    table = values[0] if values else None
    if isinstance(table, dict):
        table = list(table.values())
    if isinstance(table, list | tuple):  # any other table gives one character for one
        budget.check(size_of(subject) * max(map(size_of, table), default=0))


def _check_keys(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    """A dict is larger than a list of its keys."""
    budget.check(8 * max(map(size_of, values), default=0))


def _check_comparisons(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    """Searches from the right and stripping compare each character with each."""
    if size_of(subject) * max(map(size_of, values), default=0) > _MAX_COMPARISONS:
        raise SecurityError("a chat template searches for too long a text")


def _check_parts(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    """A list compares the value with its own ones, and follows all references in both."""
    if any(type(value) not in SCALARS for value in values):
        budget.bound(subject)


def _check_codec(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    """Some codecs take quadratic time."""
    if any(str(value).lower() not in _CODECS for value in values[:1]):
        raise SecurityError("a chat template uses a codec other than UTF-8, ASCII and Latin-1")


def _check_slow(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    if budget.weigh(subject) > MAX_SLOW_CHARS:
        raise SecurityError("a chat template takes a slow way through a long text")


def _check_wrap(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    _check_slow(budget, subject, values)
    _check_lines(budget, subject, values)


def _check_columns(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    """Cut into lists, which a value fills up."""
    budget.charge(max((size_of([0]) * as_count(value) for value in values), default=0))


def _check_digits(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    if any(as_count(value) > _MAX_DIGITS for value in values):
        raise SecurityError(f"a chat template rounds to more than {_MAX_DIGITS} digits")


def _check_sum(budget: RenderBudget, subject: object, values: Sequence[object]) -> None:
    """Lists that are added one by one are copied as often."""
    if any(isinstance(value, list | tuple) for value in values):
        budget.check(budget.weigh(subject) * len(subject))  # type: ignore[arg-type]


def as_count(value: object) -> int:
    """How often or how wide; what is no number is 0."""
    return value if isinstance(value, int) else 0


def _count(subject: str | bytes, part: object) -> int:
    if isinstance(subject, str) and isinstance(part, str):
        return subject.count(part)
    return len(subject)


_CHECKS: dict[str, Check] = {
    "batch": _check_columns,
    "center": _check_width,
    "count": _check_parts,
    "decode": _check_codec,
    "encode": _check_codec,
    "expandtabs": _check_lines,
    "format": _check_format,
    "format_map": _check_format,
    "fromkeys": _check_keys,
    "indent": _check_lines,
    "index": _check_parts,
    "join": _check_join,
    "ljust": _check_width,
    "lstrip": _check_comparisons,
    "pprint": _check_slow,
    "replace": _check_replace,
    "rfind": _check_comparisons,
    "rindex": _check_comparisons,
    "rjust": _check_width,
    "round": _check_digits,
    "rpartition": _check_comparisons,
    "rsplit": _check_comparisons,
    "rstrip": _check_comparisons,
    "slice": _check_columns,
    "strip": _check_comparisons,
    "striptags": _check_slow,
    "sum": _check_sum,
    "title": _check_slow,
    "to_bytes": _check_width,
    "translate": _check_translate,
    "trim": _check_comparisons,
    "unescape": _check_slow,
    "urlencode": _check_slow,
    "urlize": _check_slow,
    "wordcount": _check_slow,
    "wordwrap": _check_wrap,
    "xmlattr": _check_slow,
    "zfill": _check_width,
}
