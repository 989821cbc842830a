"""What completions and tokens are checked for beyond their Structs, in JSON Schema.

It says what `service.schemas.completions_checks` and `service.schemas.tokenize` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from service.deltas import FinishReason
from service.openapi.chat_rules import FORMS, one_prompt_end, template_kwargs
from service.openapi.keywords import (
    NOT_TRUE,
    NULL,
    at_most_one,
    drawing_bounds,
    has,
    only_with_stream,
)
from service.openapi.rule import Rule
from service.schemas.chat import TokenId
from service.schemas.completions import CompletionRequest, TokenIds
from service.schemas.completions_answer import CompletionChoice
from service.schemas.completions_checks import MAX_PROMPTS
from service.schemas.tokenize import TokenizeRequest

if TYPE_CHECKING:
    from service.openapi.rule import Json, Rules
    from service.request_limits import RequestLimits

_OF_CHATS = (
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
)


def text_rules(limits: RequestLimits) -> Rules:
    """What is checked of the Structs of completions and tokens."""
    several = Meta(min_length=1, max_length=MAX_PROMPTS)
    prompts = (
        str,
        Annotated[list[str], several],
        Annotated[list[TokenId], Meta(min_length=1)],
        Annotated[list[TokenIds], several],
    )
    older_forms = {f"guided_{name}": types for name, types in FORMS.items()}
    most = min(limits.max_top_logprobs, 5)
    return {
        CompletionRequest: Rule(
            bounds=drawing_bounds(limits) | {"logprobs": {"maximum": most}},
            values={"suffix": {"enum": ["", None]}, "truncate_prompt_tokens": NULL},
            shapes={"prompt": prompts},
            whole={"allOf": [only_with_stream(), *at_most_one(older_forms)]},
        ),
        CompletionChoice: Rule(shapes={"finish_reason": (FinishReason,)}),
        TokenizeRequest: Rule(
            bounds={
                "messages": {"maxItems": limits.max_messages},
                "tools": {"maxItems": limits.max_tools},
            },
            values={"chat_template_kwargs": template_kwargs()},
            whole={"anyOf": [_of_text(), _of_chat()]},
        ),
    }


def _of_text() -> Json:
    others = dict.fromkeys(_OF_CHATS, NULL)
    return {"required": ["prompt"], "properties": {"prompt": {"type": "string"}, **others}}


def _of_chat() -> Json:
    messages = has("messages", {"type": "array"})
    messages["properties"] |= {"prompt": NULL, "add_special_tokens": NOT_TRUE}
    return messages | one_prompt_end()
