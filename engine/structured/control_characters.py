"""Control characters that JSON has no letter for, such as U+0001, in what a JSON schema asks for.

They could be written as "\\u0001" only, which `lark.JSON_OPTIONS` forbids. Then the library leaves
them out of texts and of patterns, but for sets that have others too.
"""

from __future__ import annotations

import re

_RAW = r"[\x00-\x07\x0b\x0e-\x1f\x7f]"
_HEX = "(?:0[0-7bBeEfF]|1[0-9a-fA-F]|7[fF])"
_ONE = (
    rf"{_RAW}|\\x{_HEX}|\\u00{_HEX}|\\U000000{_HEX}|\\[va]|\\c."
    r"|\\[xuU]\{0*(?:[0-7bBeEfF]|1[0-9a-fA-F]|7[fF])\}"
)
_IN_TEXT = re.compile(_RAW)
_IN_PATTERN = re.compile(
    # Possessive, and a set without an end is one too: else many of them would cost their square.
    rf"(?P<control>{_ONE}|\[(?:{_ONE}|-)++\])|\\.|\[(?:\\.|[^\]\\])*+\]?|.",
    re.DOTALL,
)


def are_in_value(value: object) -> bool:
    """Whether a text in a JSON value has one; a name counts too."""
    if isinstance(value, str):
        return _IN_TEXT.search(value) is not None
    if isinstance(value, dict):
        return any(map(are_in_value, (*value, *value.values())))
    return isinstance(value, list) and any(map(are_in_value, value))


def are_in_pattern(pattern: str) -> bool:
    """Whether a regular expression asks for one by itself: not in a set with others."""
    return any(match["control"] for match in _IN_PATTERN.finditer(pattern))
