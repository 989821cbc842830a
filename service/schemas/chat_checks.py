"""What a chat request may not be, beyond the types and bounds of single fields: too much of
something, or a combination that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import PayloadTooLarge, ValidationFault, quoted
from service.schemas.messages import AssistantMessage
from service.schemas.tools import FunctionTool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.request_limits import RequestLimits
    from service.schemas.chat import ChatCompletionRequest


def check_counts(chat: ChatCompletionRequest, limits: RequestLimits) -> None:
    """Raises:
    ValidationFault: more of something than the limit, which it names.
    PayloadTooLarge: a tool's schema exceeds its size.
    """
    for param, count, limit in _counts(chat, limits):
        if count > limit:
            raise ValidationFault(
                f"Invalid {param}: {count} is more than the {limit} that are allowed.", param=param
            )
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
    yield "stop", len(chat.stop_strings), limits.max_stop_strings
    for index, stop in enumerate(chat.stop_strings):
        param = "stop" if isinstance(chat.stop, str) else f"stop[{index}]"
        yield param, len(stop), limits.max_stop_chars


def check_combinations(chat: ChatCompletionRequest) -> None:
    """Raises ValidationFault: fields that do not go together; `param` is the one to change."""
    if chat.stream_options is not None and not chat.stream:
        raise ValidationFault(
            "`stream_options` is only allowed when `stream` is true.", param="stream_options"
        )
    if chat.top_logprobs and not chat.logprobs:
        raise ValidationFault(
            "`top_logprobs` is only allowed when `logprobs` is true.", param="top_logprobs"
        )
    _check_lengths(chat)
    _check_biases(chat)
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


def _check_biases(chat: ChatCompletionRequest) -> None:
    """Only decimal digits: `int` would take "+1", " 1" and "१" too."""
    for key in chat.logit_bias or ():
        if not (key.isascii() and key.isdecimal()) or len(key) > 10:
            raise ValidationFault(
                f"The keys of `logit_bias` are token ids; {quoted(key)} is none.",
                param=f"logit_bias.{key}",
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
