"""What `POST /v1/chat/completions` takes: every field of OpenAI's with its bounds, and ours.

An unknown field is refused by name. A known field that is not built yet is refused too unless it
asks for what happens anyway: `NOT_BUILT_YET` is the one list that later work shortens. An
explicit null is as good as an absent field, everywhere.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw

from service.body import decode
from service.errors import NotSupported, ValidationFault
from service.schemas.messages import Messages, TemplateMessage, template_messages
from service.schemas.tools import ToolChoice, Tools, template_tools

MAX_INT = 2**31 - 1
MAX_STOP_IDS = 64

Count = Annotated[int, Meta(ge=1, le=MAX_INT)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopString = Annotated[str, Meta(min_length=1, max_length=256)]
TokenId = Annotated[int, Meta(ge=0, le=MAX_INT)]
Label = Annotated[str, Meta(max_length=512)]
JsonObject = dict[str, object]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`include_obfuscation` is accepted: nothing here needs padding."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextFormat(
    msgspec.Struct, frozen=True, tag_field="type", tag="text", forbid_unknown_fields=True
):
    """Free text."""


class JsonObjectFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchemaFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    """JSON of a schema."""


class Prediction(msgspec.Struct, forbid_unknown_fields=True):
    """Text the client expects; accepted, not used."""

    content: Raw
    type: Literal["content"] = "content"


NOT_BUILT_YET: Final = MappingProxyType[str, tuple[object, ...]](
    {
        "n": (1,),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "repetition_penalty": (1,),
        "min_p": (0,),
        "min_tokens": (0,),
        "ignore_eos": (False,),
        "skip_special_tokens": (True,),
        "logit_bias": ({},),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "response_format": (TextFormat(),),
        "tool_choice": ("none", "auto"),
        "parallel_tool_calls": (True,),
        "reasoning_effort": (),
        "modalities": (["text"],),
        "chat_template_kwargs": ({},),
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        "cache_salt": (),
        "priority": (0,),
    }
)
"""Field → values that change nothing; any other is 422 "not supported yet"."""

REFUSED: Final = ("functions", "function_call", "audio", "web_search_options", "moderation")
"""Fields that change the answer's meaning and will not be built for text models."""


class ChatCompletionRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body. Make it with `parse`, which also checks what involves several fields."""

    messages: Messages
    model: Annotated[str, Meta(min_length=1, max_length=256)]

    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=MAX_INT)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=16)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=MAX_STOP_IDS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None

    # Accepted; they have no effect, or the prefix cache works without being told.
    user: Label | None = None
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_options: JsonObject | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16),
        ]
        | None
    ) = None
    store: bool | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    prediction: Prediction | None = None

    # Known by type and bounds, and in `NOT_BUILT_YET`.
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_INT)] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    logit_bias: (
        Annotated[
            dict[str, Annotated[float, Meta(ge=-100, le=100)]],
            Meta(max_length=1024),
        ]
        | None
    ) = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    modalities: list[Literal["text", "audio"]] | None = None
    chat_template_kwargs: JsonObject | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    cache_salt: Label | None = None
    priority: Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)] | None = None

    # In `REFUSED`.
    functions: list[Raw] | None = None
    function_call: str | JsonObject | None = None
    audio: JsonObject | None = None
    web_search_options: JsonObject | None = None
    moderation: JsonObject | None = None

    @classmethod
    def parse(cls, body: bytes) -> ChatCompletionRequest:
        """The request in a JSON body.

        Raises:
            BadRequest: it is not JSON.
            ValidationFault: a field is wrong, or several do not go together.
            NotSupported: a field asks for what is not built.
        """
        request = decode(body, cls)
        request._check_support()
        request._check_lengths()
        return request

    @property
    def max_tokens_field(self) -> str:
        """The field that bounds the answer, for messages about it."""
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @property
    def num_max_tokens(self) -> int | None:
        """How long the answer may become; None leaves it to the context."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings, whether one or many were given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def may_call_tools(self) -> bool:
        """Whether calls in the answer are looked for."""
        return self.tools is not None and self.tool_choice != "none"

    def template_messages(self) -> list[TemplateMessage]:
        """See `service.schemas.messages.template_messages`."""
        return template_messages(self.messages)

    def template_tools(self) -> list[JsonObject]:
        """The tools the model shall see: none if it may not call them."""
        tools = template_tools(self.tools)
        return tools if self.may_call_tools else []

    def _check_support(self) -> None:
        for name in REFUSED:
            if getattr(self, name) is not None:
                raise NotSupported(f"`{name}` is not supported.", param=name)
        for name, harmless in NOT_BUILT_YET.items():
            value = getattr(self, name)
            if value is not None and value not in harmless:
                raise NotSupported(f"This value of `{name}` is not supported yet.", param=name)

    def _check_lengths(self) -> None:
        if self.stream_options is not None and not self.stream:
            raise ValidationFault(
                "`stream_options` is only allowed when `stream` is true.", param="stream_options"
            )
        if (
            self.max_tokens is not None
            and self.max_completion_tokens is not None
            and self.max_tokens != self.max_completion_tokens
        ):
            raise ValidationFault(
                "`max_tokens` and `max_completion_tokens` differ; give one of them.",
                param="max_tokens",
            )
