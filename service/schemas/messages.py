"""The messages of a conversation: what each role may hold, and how a chat template sees it.

What an assistant said earlier comes back as our answers spell it (`refusal: null`, `annotations`,
`reasoning_content` and the like), so all of that is accepted.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, field

from service.errors import NotSupported, ValidationFault
from service.schemas.content import Content, text_of
from service.schemas.json_value import null

Name = Annotated[str, Meta(max_length=256)]
CallId = Annotated[str, Meta(max_length=512)]
TemplateMessage = dict[str, object]


class SystemMessage(msgspec.Struct, tag_field="role", tag="system", forbid_unknown_fields=True):
    """Instructions."""

    content: Content
    name: Name | None = None


class DeveloperMessage(
    msgspec.Struct, tag_field="role", tag="developer", forbid_unknown_fields=True
):
    """Instructions, under their newer name."""

    content: Content
    name: Name | None = None


class UserMessage(msgspec.Struct, tag_field="role", tag="user", forbid_unknown_fields=True):
    """What the user said."""

    content: Content
    name: Name | None = None


class CalledFunction(msgspec.Struct, forbid_unknown_fields=True):
    """Name and arguments of a call."""

    name: Annotated[str, Meta(max_length=1024)]  # as long as a model may have made it
    arguments: str
    """JSON in a string, as the model wrote it."""
    parsed_arguments: Raw = field(default_factory=null)
    """What the SDK's helpers add to an answer that they hand out."""


class ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    """A call in an earlier answer."""

    id: CallId
    function: CalledFunction
    type: Literal["function"] | None = "function"
    index: Annotated[int, Meta(ge=0, le=1024)] | None = None
    """A leftover of streamed answers."""


class AssistantMessage(
    msgspec.Struct, tag_field="role", tag="assistant", forbid_unknown_fields=True
):
    """An earlier answer: at least one of text, calls and reasoning."""

    content: Content | None = None
    refusal: str | None = None
    name: Name | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=1024)] | None = None
    function_call: CalledFunction | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    annotations: list[Raw] | None = None
    audio: dict[str, Raw] | None = None
    parsed: Raw = field(default_factory=null)
    """What the SDK's helpers add."""


class ToolMessage(msgspec.Struct, tag_field="role", tag="tool", forbid_unknown_fields=True):
    """What a called function returned."""

    content: Content
    tool_call_id: CallId
    name: Name | None = None


class FunctionMessage(msgspec.Struct, tag_field="role", tag="function", forbid_unknown_fields=True):
    """What a called function returned, under its older name."""

    name: Name
    content: Content | None = None


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)
Messages = Annotated[list[Message], Meta(min_length=1)]


def template_messages(messages: list[Message]) -> list[TemplateMessage]:
    """The messages as chat templates take them.

    Raises:
        ValidationFault: an assistant's message without any content.
        NotSupported: media parts.
    """
    return [_template_message(each, f"messages[{at}]") for at, each in enumerate(messages)]


def _template_message(message: Message, at: str) -> TemplateMessage:
    match message:
        case AssistantMessage():
            return _assistant(message, at)
        case ToolMessage():
            text = text_of(message.content, f"{at}.content")
            rendered: TemplateMessage = {
                "role": "tool",
                "content": text,
                "tool_call_id": message.tool_call_id,
            }
        case FunctionMessage():  # templates know it as a tool's answer
            content = "" if message.content is None else message.content
            rendered = {"role": "tool", "content": text_of(content, f"{at}.content")}
        case _:
            role = message.__struct_config__.tag
            rendered = {"role": role, "content": text_of(message.content, f"{at}.content")}
    if message.name is not None:
        rendered["name"] = message.name
    return rendered


def _assistant(message: AssistantMessage, at: str) -> TemplateMessage:
    if message.audio is not None:
        raise NotSupported(
            "This model takes text only: audio is not supported.", param=f"{at}.audio"
        )
    calls = [(call.id, call.function) for call in message.tool_calls or []]
    if message.function_call is not None:
        calls.append(("", message.function_call))
    content = message.refusal if message.content is None else message.content
    reasoning = message.reasoning_content or message.reasoning
    if content is None and not calls and reasoning is None:
        raise ValidationFault(
            "An assistant's message needs content or tool calls.", param=f"{at}.content"
        )
    # "" and not null: many templates would print "None".
    rendered: TemplateMessage = {
        "role": "assistant",
        "content": "" if content is None else text_of(content, f"{at}.content"),
    }
    if reasoning is not None:
        rendered["reasoning_content"] = reasoning
    if calls:
        rendered["tool_calls"] = [_call(call_id, function) for call_id, function in calls]
    return rendered


def _call(call_id: str, function: CalledFunction) -> dict[str, object]:
    """Templates of Hugging Face want the arguments as an object; what is none stays as it is."""
    arguments: object = function.arguments
    try:
        parsed = msgspec.json.decode(function.arguments)
    except (msgspec.DecodeError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        arguments = parsed
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": function.name, "arguments": arguments},
    }
