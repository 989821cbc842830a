"""The form that an answer must have, and what to say of one that cannot be kept to."""

from __future__ import annotations

import msgspec

from service.errors import BadRequest, shortened

MAX_REASON_CHARS = 200


class Structure(msgspec.Struct, frozen=True):
    """A grammar in the library's form, and the field that asked for it."""

    grammar: str
    param: str
    is_call: bool = False
    """Whether it is the form of tool calls, which are then looked for in the answer."""


def refused(param: str, reason: str) -> BadRequest:
    """For the form that the field `param` asked for."""
    line = " ".join(reason.split("\n", 1)[0].split()) or "it is too complex"
    printable = "".join(char if char.isprintable() else "?" for char in line)
    return BadRequest(
        f"Answers cannot be made to follow `{param}`: {shortened(printable, MAX_REASON_CHARS)}.",
        param=param,
        code="invalid_grammar",
    )
