"""How a format's calls are written, as plain data: what a parser reads, told to who makes it."""

from __future__ import annotations

import msgspec


class ArgumentShape(msgspec.Struct, frozen=True):
    """One argument between tags: `opening`, its key, `named`, its value, `closing`. A string is
    bare text, other values are JSON; `value_end` is where the parser takes a text to end."""

    opening: str
    named: str
    closing: str
    value_end: str


class MessageShape(msgspec.Struct, frozen=True):
    """An answer of several messages: how each begins, and what stands between two."""

    heads: tuple[str, ...]
    between: str


class CallShape(msgspec.Struct, frozen=True, kw_only=True):
    """`begin`, a call, `between`, a call, ..., `end`. A call is `head`, the function's name,
    `named`, its arguments, `tail`. All are plain text with the format's marks in it."""

    head: str
    named: str
    tail: str = ""
    begin: str = ""
    between: str = ""
    end: str = ""
    mark: str = ""
    """What a list of calls begins with wherever it stands; "": only an answer that begins with a
    brace has calls."""
    unsaid: tuple[str, ...] = ()
    """What text without a call never holds: the parser would find one."""
    is_single: bool = False
    """Whether an answer ends with its first call."""
    argument: ArgumentShape | None = None
    """None: the arguments are one JSON object."""
    message: MessageShape | None = None
    """None: text is text, with no marks around it."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that it is written with."""
        argument, message = self.argument, self.message
        return (
            *(self.begin, self.head, self.named, self.tail, self.between, self.end),
            *((argument.opening, argument.named, argument.closing) if argument else ()),
            *((*message.heads, message.between) if message else ()),
        )
