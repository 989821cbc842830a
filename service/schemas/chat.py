"""What `POST /v1/chat/completions` takes: every field of OpenAI's with its bounds, and ours.

An unknown field is refused by name; an explicit null is as good as an absent field, everywhere.
Types and bounds stand at the fields. What is a matter of settings, what involves several fields,
and what is not built is in `chat_checks`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, field

from service.schemas.json_value import JsonSchema, JsonSchemaOrText, null
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
    """What a stream has besides its chunks."""

    include_usage: bool | None = None
    """One more chunk, without choices, tells the usage."""
    include_obfuscation: bool | None = None
    """To no effect: nothing here needs padding."""


class TextFormat(
    msgspec.Struct, frozen=True, tag_field="type", tag="text", forbid_unknown_fields=True
):
    """Free text."""


class JsonObjectFormat(
    msgspec.Struct, frozen=True, tag_field="type", tag="json_object", forbid_unknown_fields=True
):
    """Any JSON object."""


class NamedSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON schema. It is kept to whether `strict` or not."""

    name: FunctionName
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    schema: JsonSchema = field(default_factory=lambda: Raw(b"{}"))
    """Kept to as far as grammars can; without it any JSON is."""
    strict: bool | None = None


class JsonSchemaFormat(
    msgspec.Struct, frozen=True, tag_field="type", tag="json_schema", forbid_unknown_fields=True
):
    """JSON of a schema."""

    json_schema: NamedSchema


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """vLLM's: one of these."""

    json: JsonSchemaOrText = field(default_factory=null)
    """A JSON schema, or one in a string."""
    regex: GrammarText | None = None
    """What the whole answer matches."""
    choice: Choices | None = None
    """What the answer is one of."""
    grammar: GrammarText | None = None
    """A context-free grammar, in Lark's notation or GBNF."""


class Prediction(msgspec.Struct, forbid_unknown_fields=True):
    """Text the client expects; accepted, not used."""

    content: Raw
    type: Literal["content"] | None = "content"


class ChatCompletionRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A conversation to answer, and how. An explicit null is as good as an absent field.

    Not in the schema: integers have no decimal point, and no text has half a surrogate pair; what
    is of the model (its context, its vocabulary, the form of its calls) is checked beside it.
    """

    # Make it with `chat_checks.parse_chat`, which checks more than single fields.

    messages: Messages
    """The conversation, oldest message first."""
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    """A name of `/v1/models`, or an alias. Another is a 404 `model_not_found`."""

    max_completion_tokens: Count | None = None
    """The answer's tokens, at most; more than the model's context is a 422. By default as many as
    fit."""
    max_tokens: Count | None = None
    """The older name of `max_completion_tokens`. With both, they must be equal."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """1 if absent; 0 takes the likeliest token."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """1 if absent: the likeliest tokens that together have this probability."""
    top_k: Annotated[int, Meta(ge=-1, le=MAX_INT)] | None = None
    """The likeliest so many tokens; -1 and 0 take all."""
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """64 bits: the same text for the same request. Without it one is drawn."""
    stop: StopString | list[StopString] | None = None
    """The answer ends before any of these."""
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=MAX_STOP_IDS)] | None = None
    """More token ids that end the answer, below the size of the model's vocabulary."""
    stream: bool | None = None
    """Server-sent events instead of one object."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    """Answers to draw; 1 if absent. The prompt is computed and counted once."""
    presence_penalty: Penalty | None = None
    """Lowers the logit of each token that the answer already has."""
    frequency_penalty: Penalty | None = None
    """Lowers it once for each time that the answer has it."""
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    """Divides the logit of each token of prompt and answer; 1 changes nothing."""
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Tokens are left out that are less likely than this share of the likeliest one's."""
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_INT)] | None = None
    """No stop token before so many; at most `max_completion_tokens`, and not with a form."""
    ignore_eos: bool | None = None
    """The model's own stop tokens do not end the answer; not with a form."""
    skip_special_tokens: bool | None = None
    """`false` leaves special tokens in the text."""
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    """Token id, in decimal digits, to what is added to its logit."""
    logprobs: bool | None = None
    """Log-probabilities of the answer's tokens."""
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """How many likeliest tokens go with each; only with `logprobs`."""
    reasoning_effort: ReasoningEffort | None = None
    """For models that think: template variables `reasoning_effort`, `enable_thinking` and
    `thinking`."""
    chat_template_kwargs: JsonObject | None = None
    """Variables of the model's chat template. A name that is not listed is a 422."""
    add_generation_prompt: bool | None = None
    """`false`: the prompt ends with the last message."""
    continue_final_message: bool | None = None
    """The answer goes on with the last message, which must be an assistant's text."""
    cache_salt: Label | None = None
    """Prompts share what is cached only with prompts of the same salt."""
    priority: Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)] | None = None
    """The smaller is served first, under `--scheduling priority`."""
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    """The form of the answer. Of `response_format`, `structured_outputs`, the `guided_*` and a
    `tool_choice` that forces a call one may be given. A form that cannot be kept to is a 400
    `invalid_grammar`."""
    structured_outputs: StructuredOutputs | None = None
    """vLLM's: the form of the answer."""
    guided_json: JsonSchemaOrText = field(default_factory=null)
    """The older name of `structured_outputs.json`."""
    guided_regex: GrammarText | None = None
    """The older name of `structured_outputs.regex`."""
    guided_choice: Choices | None = None
    """The older name of `structured_outputs.choice`."""
    guided_grammar: GrammarText | None = None
    """The older name of `structured_outputs.grammar`."""
    tools: Tools | None = None
    """Functions that the model may call, each under a name of its own."""
    tool_choice: ToolChoice | None = None
    """`auto` if absent. `required`, a function or `allowed_tools`: calls only of what `tools`
    has."""
    parallel_tool_calls: bool | None = None
    """`false`: the answer ends before a second call."""

    # Accepted; they have no effect, or the prefix cache works without being told.
    user: Label | None = None
    """To no effect."""
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    """To no effect."""
    prompt_cache_key: Label | None = None
    """To no effect: the prefix cache finds prefixes by itself."""
    prompt_cache_options: JsonObject | None = None
    """To no effect."""
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    """To no effect."""
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    """To no effect; it comes back in the answer."""
    metadata: (
        dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]] | None
    ) = None
    """Comes back in a whole answer."""
    store: bool | None = None
    """To no effect."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """To no effect."""
    prediction: Prediction | None = None
    """To no effect."""

    # In `chat_checks.REFUSED`.
    modalities: list[Literal["text", "audio"]] | None = None
    """Text only."""
    functions: list[Raw] | None = None
    """Refused: use `tools`."""
    function_call: str | JsonObject | None = None
    """Refused: use `tool_choice`."""
    audio: JsonObject | None = None
    """Refused."""
    web_search_options: JsonObject | None = None
    """Refused."""
    moderation: JsonObject | None = None
    """Refused."""

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
