"""The form that a completion must have: the same fields mean the same as in a chat without tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.schemas import chat_structure
from service.schemas.chat import ChatCompletionRequest

if TYPE_CHECKING:
    from service.schemas.completions import CompletionRequest
    from service.served_model import ServedModel
    from service.structure import Structure

_FIELDS: Final = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "ignore_eos",
    "min_tokens",
)


def structure_of(
    request: CompletionRequest, served: ServedModel, max_schema_bytes: int
) -> Structure | None:
    """See `service.schemas.chat_structure.structure_of`."""
    fields = {name: getattr(request, name) for name in _FIELDS}
    chat = ChatCompletionRequest(messages=[], model=request.model, **fields)
    return chat_structure.structure_of(chat, served, max_schema_bytes)
