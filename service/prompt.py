"""A request of any API for a generation, and how it fits into the model's context."""

from __future__ import annotations

import msgspec

from engine.protocol import SamplingParams, Submit
from service.errors import ValidationFault
from service.prompt_source import (
    ChatPrompt,
    PromptSource,
    encode,
    is_reasoning_open,
    text_of,
    too_long,
)
from service.sampling import Sampling
from service.served_model import ServedModel
from service.structure import Held, Structure


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an API asks for. `deadline_s` is on the clock of `anyio.current_time()`.

    `num_bytes` is the size of the request: a large one is encoded in a thread.
    """

    source: PromptSource
    sampling: Sampling = Sampling()
    num_bytes: int
    deadline_s: float
    start_deadline_s: float
    """Until when it must have begun; never after `deadline_s`."""
    max_tokens: int | None = None
    """With 0 only the prompt is of interest."""
    max_tokens_field: str = "max_tokens"
    """How the API calls it, for faults."""
    structure: Structure | None = None
    """The form of the answer; None leaves it free."""
    is_one_call: bool = False
    """Whether the answer ends before a second call of a tool."""
    is_echoed: bool = False
    """Whether each choice begins with the prompt, and scores with those of the prompt."""
    scores_stop: bool = False
    """Whether scores end with that of the stop token, if there is only one token to tell of."""
    priority: int = 0
    cache_salt: str = ""
    operation: str = "chat"
    response_id: str = ""
    is_streamed: bool = False
    tenant: str = "anonymous"
    traceparent: str = ""

    @property
    def chat(self) -> ChatPrompt | None:
        """The conversation to answer; None where a text is gone on with: it has neither calls nor
        reasoning."""
        return self.source if isinstance(self.source, ChatPrompt) else None

    @property
    def is_prompt_only(self) -> bool:
        """Whether the token that the engine must draw is told to nobody."""
        return self.max_tokens == 0

    @property
    def takes_stop_token(self) -> bool:
        """The engine sends no stop token. Where the answer is one token it need not know them:
        then one comes like any other, with its score."""
        sampling = self.sampling
        return (
            self.scores_stop
            and sampling.num_logprobs is not None
            and self.max_tokens == 1
            and not sampling.min_tokens
            and self.structure is None
        )

    def stop_token_ids(self, served: ServedModel) -> frozenset[int]:
        """What ends the answer. `ignore_eos` leaves only the client's own."""
        ends = () if self.sampling.ignore_eos else served.card.eos_token_ids
        return frozenset((*ends, *self.sampling.stop_token_ids))


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the engine can take; nothing has been sent yet."""

    request: GenerationRequest
    served: ServedModel
    submit: Submit
    num_prompt_tokens: int
    echo: str
    """What each choice begins with."""
    is_reasoning_open: bool
    """Whether the prompt has begun the reasoning, so that the answer goes on with it."""
    start_ns: int
    tokenize_start_ns: int
    tokenize_end_ns: int


def check_fields(request: GenerationRequest, served: ServedModel, max_model_len: int) -> None:
    """What needs the model, but not the prompt's ids.

    Raises:
        ValidationFault: a number of tokens is above the context, or an id is no token.
    """
    request.sampling.check(served.card.vocab_size, max_model_len)
    if request.max_tokens is not None and request.max_tokens > max_model_len:
        raise ValidationFault(
            f"`{request.max_tokens_field}` is {request.max_tokens}, but this model's context "
            f"holds {max_model_len} tokens.",
            param=request.max_tokens_field,
        )


def sampling_params(
    request: GenerationRequest, served: ServedModel, *, max_tokens: int, seed: int
) -> SamplingParams:
    """How the engine draws the answer."""
    sampling = request.sampling
    stop_token_ids = () if request.takes_stop_token else tuple(request.stop_token_ids(served))
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=seed,
        stop_token_ids=stop_token_ids,
        min_tokens=min(sampling.min_tokens, max_tokens),
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=sampling.logit_bias,
        num_logprobs=None if request.is_prompt_only else sampling.num_logprobs,
        num_prompt_logprobs=sampling.num_logprobs if request.is_echoed else None,
        grammar="" if request.structure is None else request.structure.grammar,
    )


def encode_for(
    request: GenerationRequest, served: ServedModel, max_model_len: int
) -> tuple[list[int], str]:
    """The prompt's ids, and what each choice begins with. Slow for long prompts.

    Raises whatever `service.prompt_source.encode` raises.
    """
    token_ids = encode(served, request.source, max_model_len)
    return token_ids, text_of(served, request.source, token_ids) if request.is_echoed else ""


def begins_in_reasoning(
    request: GenerationRequest, served: ServedModel, token_ids: list[int]
) -> bool:
    """Whether the answer goes on with reasoning that the prompt has begun."""
    structure = request.structure
    if request.chat is None or (structure and structure.held is not Held.CALLS_IN_TEXT):
        return False  # the form holds from the first token on
    return is_reasoning_open(served, request.chat, token_ids)


def fit(request: GenerationRequest, num_prompt_tokens: int, max_model_len: int) -> int:
    """How many tokens the engine shall draw.

    Raises:
        ContextExceeded: there is room for none.
        ValidationFault: there is nothing to go on with.
    """
    if not num_prompt_tokens:
        raise ValidationFault("The prompt has no tokens.", param=request.source.param)
    num_left = max_model_len - num_prompt_tokens
    if num_left < 1:
        raise too_long(request.source, max_model_len, str(num_prompt_tokens))
    if request.max_tokens is None:
        return num_left
    return max(min(request.max_tokens, num_left), 1)
