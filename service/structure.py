"""The form that an answer must have, and what to say of one that cannot be kept to."""

from __future__ import annotations

from enum import Enum

import msgspec

from service.errors import BadRequest, shortened

MAX_REASON_CHARS = 200


class Held(Enum):
    """What of an answer has the form."""

    ANSWER = "answer"
    """All of it; nothing is looked for in it."""
    CALLS = "calls"
    """All of it, which is calls of tools."""
    CALLS_OR_ANSWER = "calls or answer"
    """All of it, which is calls if it begins with their mark."""
    CALLS_IN_TEXT = "calls in text"
    """The calls that come in it; the rest is free, reasoning too."""


class Structure(msgspec.Struct, frozen=True):
    """A grammar in the library's form, and the field that asked for it."""

    grammar: str
    param: str
    held: Held = Held.ANSWER
    may_look_like_calls: bool = False
    """Whether an answer of the form could be taken for calls of tools."""
    parts: tuple[tuple[str, str], ...] = ()
    """What it was made of, as far as the fault may be there: the field, and a grammar for it alone."""


def refused(param: str, reason: str) -> BadRequest:
    """For the form that the field `param` asked for."""
    line = " ".join(reason.split("\n", 1)[0].split()) or "it is too complex"
    printable = "".join(char if char.isprintable() else "?" for char in line)
    return BadRequest(
        f"Answers cannot be made to follow `{param}`: {shortened(printable, MAX_REASON_CHARS)}.",
        param=param,
        code="invalid_grammar",
    )
