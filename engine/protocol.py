"""Every message between the service and the engine: plain data, msgspec-encoded both ways.

Commands are imperatives (`Submit`, `Abort`), events are nouns or past participles (`Tokens`,
`Finished`). A request's events come in this order, and the last one comes exactly once::

    Started  PromptLogprobs?  (Tokens | SampleFinished)*  (Finished | Failed)

or, when it never starts, `SampleFinished*` for samples that were ended, then `Failed`, or `Finished` if
it was aborted.

Events that concern the engine as a whole (`Loading`, `Ready`, `LoadFailed`, `Unloaded`, `Stats`,
`Crashed`, `Down`) travel under the empty request id. All times are `time.monotonic_ns()` of the one machine that both sides run on.

This module imports msgspec and nothing else, so that either side of a process border can.
"""

from __future__ import annotations

from array import array
from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "abort", "timeout"]
AbortReason = Literal["abort", "stop", "timeout"]

ENGINE = ""
"""The request id under which events of the engine as a whole travel."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """Encoded as an array with its class name in front: half the cost of an object."""


class SamplingParams(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How tokens are drawn from the logits, and when a sequence ends.

    Logits are changed in this order: `allowed_token_ids` (none: all) and `banned_token_ids`,
    `logit_bias`, stop ids before `min_tokens` output tokens, repetition penalty (prompt and output;
    divides positive logits, multiplies negative ones), presence and frequency penalty (output
    only), temperature. Of the distribution then stay the `top_k` heaviest (0: all), of these the
    smallest set that has `top_p` (1: all), of these what weighs at least `min_p` times the
    heaviest. `temperature` 0 is greedy. `seed` is always given: the service draws one if the client
    did not, so that the engine holds no randomness of its own.

    `num_logprobs` asks for the log-probability of each drawn token and of that many likeliest
    ones, 0 to 20; `num_prompt_logprobs` for the same of the prompt's tokens. Both are of the
    model's own distribution, before any change; None asks for nothing. What does not follow
    `grammar` (llguidance's form, vetted; "": anything may follow) is never drawn.
    """

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    banned_token_ids: tuple[int, ...] = ()
    num_logprobs: int | None = None
    num_prompt_logprobs: int | None = None
    grammar: str = ""


class Submit(Message, frozen=True):
    """One request. `prompt` holds uint32 token ids (`pack_token_ids`).

    Its wait in the queue counts from `arrived_ns`. `num_samples` answers are drawn, which share
    the prompt's blocks. The smaller `priority` is served first. What has not started at
    `deadline_ns` (0: never) fails. Prefixes are shared within a tenant and a `cache_salt`.
    `model` "" is the model that was loaded first.
    """

    request_id: str
    prompt: bytes
    params: SamplingParams
    arrived_ns: int
    tenant: str = "anonymous"
    traceparent: str = ""
    num_samples: int = 1
    priority: int = 0
    deadline_ns: int = 0
    cache_salt: str = ""
    model: str = ""

    @property
    def prompt_token_ids(self) -> list[int]:
        return array("I", self.prompt).tolist()


class Abort(Message, frozen=True):
    """Ends a request early: the client left, a stop string matched, its time is over.

    An abort follows its own `Submit` in the same ordered channel, so it can never overtake it.
    An unknown or finished request id is nothing to complain about: the two have crossed. With
    `sample` it ends that sample only, and the request if it was the last.
    """

    request_id: str
    reason: AbortReason
    sample: int | None = None


class LoadModel(Message, frozen=True):
    """Load another model beside those that are there; `config` is an encoded `EngineConfig`. Ends
    with `Ready` or `LoadFailed` of this model, and disturbs no other. A model that is there is
    `Ready` at once."""

    model: str
    config: bytes


class UnloadModel(Message, frozen=True):
    """End what a model's requests are doing, and give its memory back. Ends with `Unloaded`, also
    if there is no such model."""

    model: str


class Started(Message, frozen=True):
    """The prompt is computed and the first token exists: HTTP may commit to a status line."""

    num_prompt_tokens: int
    num_cached_tokens: int


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Natural log-probability of a token, and the likeliest tokens in its place with theirs."""

    token_id: int
    logprob: float
    top_ids: tuple[int, ...] = ()
    top_logprobs: tuple[float, ...] = ()


class PromptLogprobs(Message, frozen=True):
    """One entry for each token of the prompt; None for the first, which nothing precedes."""

    logprobs: tuple[TokenLogprobs | None, ...]


class Tokens(Message, frozen=True):
    """The next output token ids of a sample; a stop token's id counts but is never sent.

    `logprobs` has an entry for each token if they were asked for.
    """

    token_ids: tuple[int, ...]
    sample: int = 0
    logprobs: tuple[TokenLogprobs, ...] = ()


class SampleFinished(Message, frozen=True):
    """One of several samples is over while others go on; the last one's end is `Finished`."""

    sample: int
    reason: FinishReason


class RequestTimings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When things happened to a request, in monotonic ns; 0 for what never did.

    `queues` has one (start, end) pair for each wait: a preemption adds another.
    """

    queues: tuple[tuple[int, int], ...] = ()
    prefill_start_ns: int = 0
    first_token_ns: int = 0
    last_token_ns: int = 0
    num_prefill_chunks: int = 0
    num_decode_steps: int = 0
    num_preemptions: int = 0


class Finished(Message, frozen=True):
    """The request is over and its blocks are free. `reason` is that of every sample whose end has
    not been said before: of the only or the last one, or of all that an abort has ended."""

    reason: FinishReason
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    timings: RequestTimings


class Failed(Message, frozen=True):
    """The request is over without an answer; `code` is one of `engine.errors`, `message` fixed.

    `message` never carries the text of a library's exception: that goes to the log.
    """

    code: str
    message: str
    timings: RequestTimings = RequestTimings()


class Loading(Message, frozen=True):
    """Weights are on their way; `fraction` runs from 0 to 1."""

    fraction: float
    model: str = ""


class LoadFailed(Message, frozen=True):
    """A model cannot be loaded; `message` says why and what to do, `code` is that of the fault.
    The others go on."""

    model: str
    message: str
    code: str = ""


class Unloaded(Message, frozen=True):
    """A model is gone, its requests have failed, and its memory is free."""

    model: str


class Ready(Message, frozen=True):
    """A model takes requests; what it runs on, for the banner and for limits."""

    model: str
    device: str
    dtype: str
    num_blocks: int
    block_size: int
    max_model_len: int
    max_batch_tokens: int
    num_parameters: int
    weight_bytes: int
    kv_cache_bytes: int
    vocab_size: int = 0


class Stats(Message, frozen=True):
    """Gauges and totals since the engine's start; the engine's heartbeat.

    Sent with each frame and once a second when nothing else is, so reading them costs nothing and
    their absence tells something. `step_started_ns`
    is the start of the running step, `head_queued_ns` when the head of the queue began to wait; 0
    where there is none.
    """

    num_running: int = 0
    num_waiting: int = 0
    num_blocks: int = 0
    num_blocks_used: int = 0
    num_steps: int = 0
    num_prompt_tokens: int = 0
    num_output_tokens: int = 0
    num_preemptions: int = 0
    finishes: dict[str, int] = {}
    step_started_ns: int = 0
    head_queued_ns: int = 0


class Down(Message, frozen=True):
    """The engine is gone; every pending request has got its `Failed` before this."""

    code: str
    message: str


class Crashed(Message, frozen=True):
    """The engine process has died and is started again. What it was to answer has failed."""

    message: str


Command = Submit | Abort | LoadModel | UnloadModel
RequestEvent = Started | PromptLogprobs | Tokens | SampleFinished | Finished | Failed
EngineEvent = Loading | Ready | LoadFailed | Unloaded | Stats | Crashed | Down
Event = RequestEvent | EngineEvent

Frame = list[tuple[str, bytes]]
"""What the engine sends after a step: (request id, encoded event) in order."""

_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def encode(message: Message) -> bytes:
    """msgpack bytes of any message of this module."""
    return _encoder.encode(message)


def decode_command(raw: bytes) -> Command:
    """The command in `raw`; `msgspec.ValidationError` if it is none."""
    return _command_decoder.decode(raw)


def decode_event(raw: bytes) -> Event:
    """The event in `raw`; `msgspec.ValidationError` if it is none."""
    return _event_decoder.decode(raw)


def pack_token_ids(token_ids: list[int]) -> bytes:
    """Token ids as uint32 bytes: a third of the cost of a list at 2000 tokens."""
    return array("I", token_ids).tobytes()
