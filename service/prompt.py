"""A request of any API for a generation, its prompt, and how both fit into the model's context."""

from __future__ import annotations

import msgspec

from engine.protocol import SamplingParams, Submit
from engine.text.errors import PromptTooLong, PromptUnencodable, TemplateRejected, TextError
from service.errors import BadRequest, ContextExceeded, InternalFault, ValidationFault
from service.served_model import ServedModel
from service.structure import Held, Structure

JsonObject = dict[str, object]

_NUM_TAIL_TOKENS = 16


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an API asks for. `deadline_s` is on the clock of `anyio.current_time()`.

    `messages` and `tools` are as chat templates take them; tools that the model may not call are
    not among them. `num_bytes` is the size of the request: a large one is encoded in a thread.
    """

    messages: list[JsonObject]
    tools: list[JsonObject]
    num_bytes: int
    deadline_s: float
    start_deadline_s: float
    """Until when it must have begun; never after `deadline_s`."""
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    """How the API calls it, for faults."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    num_choices: int = 1
    num_logprobs: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    skip_special_tokens: bool = True
    structure: Structure | None = None
    """The form of the answer; None leaves it free."""
    is_one_call: bool = False
    """Whether the answer ends before a second call of a tool."""
    reasoning_effort: str | None = None
    template_kwargs: dict[str, bool | int | str] = {}
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    priority: int = 0
    cache_salt: str = ""
    operation: str = "chat"
    response_id: str = ""
    is_streamed: bool = False
    tenant: str = "anonymous"
    traceparent: str = ""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the engine can take; nothing has been sent yet."""

    request: GenerationRequest
    served: ServedModel
    submit: Submit
    num_prompt_tokens: int
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
    if request.min_tokens > max_model_len:
        raise ValidationFault(
            f"`min_tokens` is {request.min_tokens}, but this model's context holds "
            f"{max_model_len} tokens.",
            param="min_tokens",
        )
    if request.max_tokens is not None and request.max_tokens > max_model_len:
        raise ValidationFault(
            f"`{request.max_tokens_field}` is {request.max_tokens}, but this model's context "
            f"holds {max_model_len} tokens.",
            param=request.max_tokens_field,
        )
    vocab_size = served.card.vocab_size
    for place, token_id in enumerate(request.stop_token_ids):
        if token_id >= vocab_size:
            raise ValidationFault(
                f"`stop_token_ids` must be below the vocabulary's {vocab_size}.",
                param=f"stop_token_ids[{place}]",
            )
    for token_id, _ in request.logit_bias:
        if token_id >= vocab_size:
            raise ValidationFault(
                f"The keys of `logit_bias` must be below the vocabulary's {vocab_size}.",
                param=f"logit_bias.{token_id}",
            )


def sampling_params(
    request: GenerationRequest, served: ServedModel, *, max_tokens: int, seed: int
) -> SamplingParams:
    """How the engine draws the answer. `ignore_eos` leaves only the client's own stop ids."""
    ends = () if request.ignore_eos else served.card.eos_token_ids
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=seed,
        stop_token_ids=tuple({*ends, *request.stop_token_ids}),
        min_tokens=min(request.min_tokens, max_tokens),
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=request.logit_bias,
        num_logprobs=request.num_logprobs,
        grammar="" if request.structure is None else request.structure.grammar,
    )


def encode(served: ServedModel, request: GenerationRequest, max_model_len: int) -> list[int]:
    """The prompt's token ids. Slow for long prompts.

    Raises:
        ContextExceeded: the prompt is so long that it cannot fit, whatever its tokens.
        BadRequest: the template refuses the messages, or they cannot be encoded.
        InternalFault: the template is broken.
    """
    try:
        token_ids = served.encoder.encode(
            request.messages,
            request.tools or None,
            add_generation_prompt=(
                request.add_generation_prompt and not request.continue_final_message
            ),
            continue_final_message=request.continue_final_message,
            max_chars=max_model_len * served.tokenizer.longest_token_chars,
            **variables_of(request),
        )
    except TemplateRejected as error:  # the model's own words
        raise BadRequest(
            f"The model's chat template refuses these messages: {error}", param="messages"
        ) from None
    except PromptTooLong as error:
        num_least = error.num_chars // served.tokenizer.longest_token_chars
        raise _too_long(max_model_len, f"at least {num_least}") from None
    except PromptUnencodable as error:
        raise BadRequest(str(error), param="messages") from None
    except TextError as error:
        raise InternalFault from error
    if token_ids and max(token_ids) >= served.card.vocab_size:
        # Tokenizers with more ids than the weights have rows exist; one such id breaks a step.
        raise BadRequest(
            "The messages hold a token that this model does not have.", param="messages"
        )
    return token_ids


def variables_of(request: GenerationRequest) -> dict[str, bool | int | str]:
    """The template's variables. Templates that think read the effort, or one of two switches."""
    variables: dict[str, bool | int | str] = {}
    if (effort := request.reasoning_effort) is not None:
        variables = {
            "reasoning_effort": effort,
            "enable_thinking": effort != "none",
            "thinking": effort != "none",
        }
    return variables | request.template_kwargs


def without_effect(request: GenerationRequest, served: ServedModel) -> list[str]:
    """Fields that were asked for and that this model's template does not read."""
    read = served.encoder.template.variables
    ignored = [f"chat_template_kwargs.{n}" for n in request.template_kwargs if n not in read]
    asks_for_change = request.reasoning_effort not in (
        (None, "none") if served.reasoning is None else (None,)
    )
    if asks_for_change and read.isdisjoint(("reasoning_effort", "enable_thinking", "thinking")):
        ignored.append("reasoning_effort")
    if request.tools and "tools" not in read:
        ignored.append("tools")
    if not request.add_generation_prompt and "add_generation_prompt" not in read:
        ignored.append("add_generation_prompt")
    return ignored


def is_reasoning_open(
    served: ServedModel, request: GenerationRequest, token_ids: list[int]
) -> bool:
    """Whether the prompt ends within the reasoning: some templates write its opening tag, and a
    message that is gone on with may have got no further."""
    structure = request.structure
    if served.reasoning is None or (structure and structure.held is not Held.CALLS_IN_TEXT):
        return False  # the form holds from the first token on
    if request.continue_final_message:
        parser = served.reasoning.new(is_open=False)
        parser.push(str(request.messages[-1]["content"]))
        return parser.is_reasoning
    tail = served.tokenizer.decode(token_ids[-_NUM_TAIL_TOKENS:], skip_special_tokens=False)
    return served.reasoning.is_opened_by(tail)


def fit(num_prompt_tokens: int, max_tokens: int | None, max_model_len: int) -> int:
    """How many tokens the answer may have. Raises `ContextExceeded` if that is none."""
    num_left = max_model_len - num_prompt_tokens
    if num_left < 1:
        raise _too_long(max_model_len, str(num_prompt_tokens))
    return num_left if max_tokens is None else min(max_tokens, num_left)


def _too_long(max_model_len: int, num_tokens: str) -> ContextExceeded:
    """OpenAI's words: agents look for them to know that they must compact their history."""
    return ContextExceeded(
        f"This model's maximum context length is {max_model_len} tokens. However, your messages "
        f"resulted in {num_tokens} tokens. Please reduce the length of the messages.",
        param="messages",
    )
