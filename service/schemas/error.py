"""OpenAI's error object, as `service.errors.envelope` writes it: for the API's document."""

from __future__ import annotations

import msgspec


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    message: str
    """For people; never the text of a library, and short."""
    type: str
    """The kind, of which OpenAI's clients make their exceptions."""
    param: str | None
    """The path of the field at fault: `messages[0].content`."""
    code: str | None
    """For programs."""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error, and the event that ends a stream which cannot go on."""

    error: ErrorObject
