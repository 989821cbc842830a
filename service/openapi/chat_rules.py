"""What a chat is checked for beyond its Structs, in JSON Schema.

It says what `service.schemas.chat_checks` does, `service.schemas.messages` and
`service.schemas.template_kwargs`, with the limits of the settings. What JSON Schema cannot say
(fields that must be equal, names that must be among others) stands in the fields' descriptions.
`tests/service/test_openapi_chat.py` holds the two against each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.deltas import FinishReason
from service.openapi.keywords import (
    NOT_TRUE,
    NULL,
    at_most_one,
    drawing_bounds,
    has,
    only_with_stream,
    when,
)
from service.openapi.rule import Rule
from service.schemas.chat import ChatCompletionRequest, StructuredOutputs
from service.schemas.chat_answer import Choice
from service.schemas.chat_checks import REFUSED
from service.schemas.messages import AssistantMessage
from service.schemas.template_kwargs import ALLOWED, MAX_CHARS, MAX_INT
from service.schemas.tools import AllowedChoice, NamedFunction, ToolWord

if TYPE_CHECKING:
    from service.openapi.rule import Json, Rules
    from service.request_limits import RequestLimits

_TYPES: Final = {bool: "boolean", int: "integer", str: "string"}
FORMS: Final = {
    "json": ["object", "string"],
    "regex": ["string"],
    "choice": ["array"],
    "grammar": ["string"],
}


def chat_rules(limits: RequestLimits) -> Rules:
    """What is checked of the Structs of a chat."""
    return {
        ChatCompletionRequest: Rule(
            bounds=drawing_bounds(limits)
            | {
                "messages": {"maxItems": limits.max_messages},
                "tools": {"maxItems": limits.max_tools},
                "metadata": {"maxProperties": limits.max_metadata},
                "top_logprobs": {"maximum": limits.max_top_logprobs},
            },
            values={
                **{
                    name: {"enum": [*harmless, None]} if harmless else NULL
                    for name, harmless in REFUSED.items()
                },
                "chat_template_kwargs": template_kwargs(),
            },
            shapes={"tool_choice": (ToolWord, NamedFunction, AllowedChoice, None)},
            whole={"allOf": _combinations()},
        ),
        StructuredOutputs: Rule(whole={"allOf": at_most_one(FORMS)}),
        AssistantMessage: Rule(values={"audio": NULL}, whole={"anyOf": _contents()}),
        Choice: Rule(shapes={"finish_reason": (FinishReason,)}),
    }


def template_kwargs() -> Json:
    """Null is as good as absent, for a name that is not listed too."""
    properties: Json = {name: {"type": [_TYPES[kind], "null"]} for name, kind in ALLOWED.items()}
    for name, kind in ALLOWED.items():
        if kind is int:
            properties[name] |= {"minimum": -MAX_INT, "maximum": MAX_INT}
        elif kind is str:
            properties[name]["maxLength"] = MAX_CHARS
    return {
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": NULL,
    }


def one_prompt_end() -> Json:
    """Of a prompt that goes on with the last message."""
    return when(
        has("continue_final_message", {"const": True}),
        {"properties": {"add_generation_prompt": NOT_TRUE}},
    )


def _combinations() -> list[Json]:
    """Which fields of a request do not go together.

    That of all forms (`response_format`, `structured_outputs`, `guided_*`, a forced `tool_choice`)
    one may be given, stands in words: with that rule too, Schemathesis 4 makes no request at all.
    """
    asks_for_call: Json = {"anyOf": [{"const": "required"}, {"type": "object"}]}
    asks_for_top: Json = {"type": "integer", "minimum": 1}
    return [
        only_with_stream(),
        when(has("top_logprobs", asks_for_top), has("logprobs", {"const": True})),
        when(has("tool_choice", asks_for_call), has("tools", {"type": "array"})),
        one_prompt_end(),
    ]


def _contents() -> list[Json]:
    """What an assistant's message needs one of."""
    return [
        has("content", {"type": ["string", "array"]}),
        has("refusal", {"type": "string"}),
        has("tool_calls", {"type": "array", "minItems": 1}),
        has("function_call", {"type": "object"}),
        has("reasoning_content", {"type": "string", "minLength": 1}),
        has("reasoning", {"type": "string"}),
    ]
