"""What `POST /v1/completions` takes: every field of OpenAI's with its bounds, and ours.

An unknown field is refused by name; an explicit null is as good as an absent field, everywhere.
Types and bounds stand at the fields, the rest in `completions_checks`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, field

from service.prompt_source import TextPrompt, TokenPrompt
from service.schemas.chat import (
    MAX_INT,
    MAX_STOP_IDS,
    Choices,
    Count,
    GrammarText,
    JsonObjectFormat,
    JsonSchemaFormat,
    Label,
    Penalty,
    StopString,
    StreamOptions,
    StructuredOutputs,
    TextFormat,
    TokenId,
)
from service.schemas.json_value import JsonSchemaOrText, null

DEFAULT_MAX_TOKENS = 16

TokenIds = Annotated[list[TokenId], Meta(min_length=1)]
Prompt = str | Annotated[list[str | TokenId | TokenIds], Meta(min_length=1)]


class CompletionRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts to go on with, and how. An explicit null is as good as an absent field."""

    # Make it with `completions_checks.parse_completion`, which checks more than single fields.

    prompt: Prompt
    """A text, a list of texts, the token ids of one prompt, or lists of them. A control token that
    a text names is that token."""
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    """A name of `/v1/models`, or an alias. Another is a 404 `model_not_found`."""

    max_tokens: Annotated[int, Meta(ge=0, le=MAX_INT)] | None = None
    """New tokens for each prompt, at most; 16 if absent. 0 is for those of the prompt only."""
    echo: bool | None = None
    """Each choice begins with the prompt, and its `logprobs` with those of the prompt."""
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    """Log-probabilities of the tokens, and of so many likeliest ones in the place of each."""
    add_special_tokens: bool | None = None
    """`false` leaves out what the tokenizer puts around a text: a BOS, mostly."""
    best_of: Count | None = None
    """As many as `n`."""
    suffix: str | None = None
    """Refused: no text is inserted before another."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """1 if absent; 0 takes the likeliest token."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """1 if absent: the likeliest tokens that together have this probability."""
    top_k: Annotated[int, Meta(ge=-1, le=MAX_INT)] | None = None
    """The likeliest so many tokens; -1 and 0 take all."""
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Tokens are left out that are less likely than this share of the likeliest one's."""
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """64 bits: the same text for the same request. Without it one is drawn for each prompt."""
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    """Answers to each prompt; 1 if absent."""
    presence_penalty: Penalty | None = None
    """Lowers the logit of each token that the answer already has."""
    frequency_penalty: Penalty | None = None
    """Lowers it once for each time that the answer has it."""
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    """Divides the logit of each token of prompt and answer; 1 changes nothing."""
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    """Token id, in decimal digits, to what is added to its logit."""
    stop: StopString | list[StopString] | None = None
    """The answer ends before any of these."""
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=MAX_STOP_IDS)] | None = None
    """More token ids that end the answer, below the size of the model's vocabulary."""
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_INT)] | None = None
    """No stop token before so many; at most `max_tokens`."""
    ignore_eos: bool | None = None
    """The model's own stop tokens do not end the answer."""
    skip_special_tokens: bool | None = None
    """`false` leaves special tokens in the text."""
    stream: bool | None = None
    """Server-sent events instead of one object."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    cache_salt: Label | None = None
    """Prompts share what is cached only with prompts of the same salt."""
    priority: Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)] | None = None
    """The smaller is served first, under `--scheduling priority`."""
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    """The form of the answer, as in a chat without tools; one of these fields may be given."""
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
    user: Label | None = None
    """To no effect."""

    # In `completions_checks.REFUSED`.
    truncate_prompt_tokens: Raw = field(default_factory=null)
    """Refused: no prompt is cut."""

    @property
    def num_max_tokens(self) -> int:
        """How long each answer may become."""
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def num_choices(self) -> int:
        """How many answers to draw for each prompt."""
        return 1 if self.n is None else self.n

    @property
    def num_logprobs(self) -> int | None:
        """How many likeliest tokens go with each log-probability; None without any."""
        return self.logprobs

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings, whether one or many were given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def num_prompts(self) -> int:
        """How many texts are gone on with; a bare list of ids is one."""
        is_list = isinstance(self.prompt, list) and not isinstance(self.prompt[0], int)
        return len(self.prompt) if is_list else 1

    def sources(self) -> list[TextPrompt | TokenPrompt]:
        """The prompts, in their order; each list is of one kind."""
        prompt = self.prompt
        adds_special = self.add_special_tokens is not False
        if isinstance(prompt, str):
            return [TextPrompt(prompt, "prompt", adds_special)]
        token_ids = [each for each in prompt if isinstance(each, int)]
        if token_ids:
            return [TokenPrompt(token_ids, "prompt")]
        return [
            TextPrompt(each, f"prompt[{place}]", adds_special)
            if isinstance(each, str)
            else TokenPrompt(each, f"prompt[{place}]")
            for place, each in enumerate(prompt)
            if not isinstance(each, int)
        ]
