"""What `POST /v1/chat/completions` takes: every field of OpenAI's with its bounds, and ours.

An unknown field is refused by name; an explicit null is as good as an absent field, everywhere.
Types and bounds stand at the fields. What is a matter of settings, what involves several fields,
and what is not built is in `chat_checks`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from service.schemas.messages import Messages, TemplateMessage, template_messages
from service.schemas.template_kwargs import TemplateKwargs, template_kwargs
from service.schemas.tools import (
    MAX_DESCRIPTION_CHARS,
    CallRule,
    FunctionName,
    FunctionTool,
    ToolChoice,
    Tools,
    call_rule,
    template_tools,
)

MAX_INT = 2**31 - 1
MAX_STOP_IDS = 64

Count = Annotated[int, Meta(ge=1, le=MAX_INT)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopString = Annotated[str, Meta(min_length=1)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
TokenId = Annotated[int, Meta(ge=0, le=MAX_INT)]
Label = Annotated[str, Meta(max_length=512)]
GrammarText = Annotated[str, Meta(min_length=1, max_length=16 * 1024)]
Choices = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=1024)]], Meta(min_length=1, max_length=1000)
]
JsonObject = dict[str, Raw]
"""An object whose values nobody reads, or reads later: they are not made into Python objects."""


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`include_obfuscation` is accepted: nothing here needs padding."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextFormat(
    msgspec.Struct, frozen=True, tag_field="type", tag="text", forbid_unknown_fields=True
):
    """Free text."""


class JsonObjectFormat(
    msgspec.Struct, frozen=True, tag_field="type", tag="json_object", forbid_unknown_fields=True
):
    """Any JSON object."""


class NamedSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON schema, kept as it was written. It is kept to whether `strict` or not."""

    name: FunctionName
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    schema: Raw = Raw(b"{}")
    strict: bool | None = None


class JsonSchemaFormat(
    msgspec.Struct, frozen=True, tag_field="type", tag="json_schema", forbid_unknown_fields=True
):
    """JSON of a schema."""

    json_schema: NamedSchema


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """vLLM's: one of these. `json` is a schema, or a schema in a string."""

    json: Raw = Raw(b"null")
    regex: GrammarText | None = None
    choice: Choices | None = None
    grammar: GrammarText | None = None


class Prediction(msgspec.Struct, forbid_unknown_fields=True):
    """Text the client expects; accepted, not used."""

    content: Raw
    type: Literal["content"] | None = "content"


class ChatCompletionRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body. Make it with `chat_checks.parse_chat`, which checks more than single fields."""

    messages: Messages
    model: Annotated[str, Meta(min_length=1, max_length=256)]

    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=MAX_INT)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopString | list[StopString] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=MAX_STOP_IDS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_INT)] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    reasoning_effort: ReasoningEffort | None = None
    chat_template_kwargs: JsonObject | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    cache_salt: Label | None = None
    priority: Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)] | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Raw = Raw(b"null")
    guided_regex: GrammarText | None = None
    guided_choice: Choices | None = None
    guided_grammar: GrammarText | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None

    # Accepted; they have no effect, or the prefix cache works without being told.
    user: Label | None = None
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_options: JsonObject | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    metadata: (
        dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]] | None
    ) = None
    store: bool | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    prediction: Prediction | None = None

    # Known by type and bounds, and in `chat_checks.NOT_BUILT_YET`.
    modalities: list[Literal["text", "audio"]] | None = None

    # In `chat_checks.REFUSED`.
    functions: list[Raw] | None = None
    function_call: str | JsonObject | None = None
    audio: JsonObject | None = None
    web_search_options: JsonObject | None = None
    moderation: JsonObject | None = None

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
    def num_choices(self) -> int:
        """How many answers to draw."""
        return 1 if self.n is None else self.n

    @property
    def num_logprobs(self) -> int | None:
        """How many likeliest tokens go with each log-probability; None without any."""
        return self.top_logprobs or 0 if self.logprobs else None

    @property
    def answered_tier(self) -> str:
        """What the answer says of `service_tier`: there is one tier, whatever it is called."""
        return "default" if self.service_tier in (None, "auto") else self.service_tier

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def may_call_tools(self) -> bool:
        """Whether calls in the answer are looked for."""
        return self.tools is not None and self.tool_choice != "none"

    @property
    def call_rule(self) -> CallRule:
        """See `service.schemas.tools.call_rule`."""
        return call_rule(self.tool_choice)

    def template_messages(self) -> list[TemplateMessage]:
        """See `service.schemas.messages.template_messages`."""
        return template_messages(self.messages)

    def template_tools(self) -> list[dict[str, object]]:
        """The tools the model shall see: those that it may call. A function that is named it
        could not miss, so all stay in the prompt, and with it in the prefix cache."""
        tools = template_tools(self.tools)
        rule = self.call_rule
        if not self.may_call_tools:
            return []
        if rule.names is None or rule.is_named:
            return tools
        return [
            tool
            for tool, given in zip(tools, self.tools or (), strict=True)
            if isinstance(given, FunctionTool) and given.function.name in rule.names
        ]

    def template_kwargs(self) -> TemplateKwargs:
        """See `service.schemas.template_kwargs`."""
        return template_kwargs(self.chat_template_kwargs)
