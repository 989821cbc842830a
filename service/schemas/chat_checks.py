"""From a body to a chat request that can be answered, beyond the types and bounds of fields.

A field that a text model has no answer to is refused unless it asks for what happens anyway. Then
there is too much of something, and what does not go together.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from service.body import decode
from service.errors import NotSupported, PayloadTooLarge, ValidationFault, quoted
from service.schemas.chat import ChatCompletionRequest
from service.schemas.messages import AssistantMessage
from service.schemas.sampling_checks import (
    check_biases,
    check_counts,
    check_stream_options,
    stop_counts,
)
from service.schemas.tools import FunctionTool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.request_limits import RequestLimits


REFUSED: Final = MappingProxyType[str, tuple[object, ...]](
    {
        "functions": (),
        "function_call": (),
        "audio": (),
        "modalities": (["text"],),
        "web_search_options": (),
        "moderation": (),
    }
)
"""Field → values that change nothing. Any other changes the answer's meaning, and will not be built
for text models."""


def parse_chat(body: bytes, limits: RequestLimits) -> ChatCompletionRequest:
    """The request in a JSON body.

    Raises:
        BadRequest: it is not JSON.
        ValidationFault: a field is wrong, or several do not go together.
        NotSupported: a field asks for what is not built.
        PayloadTooLarge: a tool's schema exceeds its limit.
    """
    chat = decode(body, ChatCompletionRequest)
    _check_support(chat)
    _check_counts(chat, limits)
    _check_combinations(chat)
    return chat


def _check_support(chat: ChatCompletionRequest) -> None:
    for name, harmless in REFUSED.items():
        value = getattr(chat, name)
        if value is not None and value not in harmless:
            what = f"This value of `{name}`" if harmless else f"`{name}`"
            raise NotSupported(f"{what} is not supported.", param=name)


def _check_counts(chat: ChatCompletionRequest, limits: RequestLimits) -> None:
    check_counts(_counts(chat, limits))
    for index, tool in enumerate(chat.tools or []):
        size = len(tool.function.parameters) if isinstance(tool, FunctionTool) else 0
        if size > limits.max_tool_schema_bytes:
            raise PayloadTooLarge(
                f"The parameters of a function exceed {limits.max_tool_schema_bytes} bytes.",
                param=f"tools[{index}].function.parameters",
            )


def _counts(chat: ChatCompletionRequest, limits: RequestLimits) -> Iterator[tuple[str, int, int]]:
    """The path of what is counted, how much there is, and how much there may be."""
    yield "messages", len(chat.messages), limits.max_messages
    yield "n", chat.num_choices, limits.max_choices
    yield "tools", len(chat.tools or ()), limits.max_tools
    yield "logit_bias", len(chat.logit_bias or ()), limits.max_logit_bias
    yield "metadata", len(chat.metadata or ()), limits.max_metadata
    yield "top_logprobs", chat.top_logprobs or 0, limits.max_top_logprobs
    yield from stop_counts(chat, limits)


def _check_combinations(chat: ChatCompletionRequest) -> None:
    """Of fields that do not go together `param` is the one to change."""
    check_stream_options(chat)
    if chat.top_logprobs and not chat.logprobs:
        raise ValidationFault(
            "`top_logprobs` is only allowed when `logprobs` is true.", param="top_logprobs"
        )
    _check_lengths(chat)
    check_biases(chat)
    _check_tool_names(chat)
    _check_tool_choice(chat)
    _check_continuation(chat)


def _check_lengths(chat: ChatCompletionRequest) -> None:
    if (
        chat.max_tokens is not None
        and chat.max_completion_tokens is not None
        and chat.max_tokens != chat.max_completion_tokens
    ):
        raise ValidationFault(
            "`max_tokens` and `max_completion_tokens` differ; give one of them.",
            param="max_tokens",
        )
    if chat.num_max_tokens is not None and (chat.min_tokens or 0) > chat.num_max_tokens:
        raise ValidationFault(
            f"`min_tokens` is more than `{chat.max_tokens_field}`.", param="min_tokens"
        )


def _check_tool_names(chat: ChatCompletionRequest) -> None:
    """A call names its function: two of one name could not be told apart."""
    seen: set[str] = set()
    for index, tool in enumerate(chat.tools or ()):
        if not isinstance(tool, FunctionTool):
            continue
        if tool.function.name in seen:
            raise ValidationFault(
                f"Two of the `tools` are named {quoted(tool.function.name)}.",
                param=f"tools[{index}].function.name",
            )
        seen.add(tool.function.name)


def _check_tool_choice(chat: ChatCompletionRequest) -> None:
    rule = chat.call_rule
    if not rule.is_forced and rule.names is None:
        return
    names = [t.function.name for t in chat.tools or () if isinstance(t, FunctionTool)]
    if not names:
        raise ValidationFault(
            "`tool_choice` asks for a call, but there are no `tools`.", param="tools"
        )
    for name in rule.names or ():
        if name not in names:
            raise ValidationFault(
                f"`tool_choice` names {quoted(name)}, which is not among the `tools`.",
                param=rule.param,
            )


def _check_continuation(chat: ChatCompletionRequest) -> None:
    if not chat.continue_final_message:
        return
    if chat.add_generation_prompt:
        raise ValidationFault(
            "`continue_final_message` and `add_generation_prompt` cannot both be true.",
            param="add_generation_prompt",
        )
    last = chat.messages[-1]
    if not isinstance(last, AssistantMessage) or last.tool_calls or last.function_call:
        raise ValidationFault(
            "`continue_final_message` needs an assistant's text as the last message.",
            param=f"messages[{len(chat.messages) - 1}]",
        )
