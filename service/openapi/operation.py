"""`Operation`: what the document says of one method of one path."""

from __future__ import annotations

from typing import Any

import msgspec

from service.errors import ApiError

JSON = "application/json"
EVENTS = "text/event-stream"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of answer that is no error. Several may have one status, with other media types."""

    description: str
    body: type[msgspec.Struct] | None = None
    """Encoded as JSON; of a stream each event's data."""
    status: int = 200
    media_type: str | None = JSON
    """None: there is no body."""
    headers: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a route does. What middleware may answer instead is added by the document."""

    method: str
    path: str
    """As Starlette's `path_format` has it: `/v1/models/{model}`."""
    tag: str
    name: str
    """The document's `operationId`."""
    summary: str
    description: str = ""
    answers: tuple[Answer, ...]
    faults: tuple[type[ApiError], ...] = ()
    """The errors of the route itself."""
    request: type[msgspec.Struct] | None = None
    may_lack_body: bool = False
    example: dict[str, Any] | None = None
    """Of the body; a field `model` is filled in."""
    sdk: str | None = None
    """What of OpenAI's Python client sends it, as `chat.completions.create`."""
