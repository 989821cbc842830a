"""The facts of one finished request, from which spans, metrics and log lines are made.

Plain numbers and names only: never prompt or answer text, never an object of another package.
Times are `time.monotonic_ns()`, which all processes of one machine share on Linux; `WallClock`
turns them into dates.
"""

import msgspec

from observability.trace_context import TraceContext


class Interval(msgspec.Struct, frozen=True):
    """From start to end, in monotonic nanoseconds."""

    start_ns: int
    end_ns: int


class GenerationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one generation was asked for, took and gave. A phase that was not reached is None.

    `model` must be a model we serve, never the text a client sent: it becomes a metric label.
    """

    operation: str = "chat"
    """`gen_ai.operation.name`: "chat", "text_completion", …"""
    model: str
    response_id: str | None = None
    stream: bool = False

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop_sequences: tuple[str, ...] = ()
    choice_count: int = 1

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens found in the prefix cache; part of `prompt_tokens`."""
    output_tokens: int = 0
    """Over all choices."""
    finish_reasons: tuple[str, ...] = ()
    """One for each choice, as OpenAI spells them, or "abort" and "error"."""

    start_ns: int
    end_ns: int
    tokenize: Interval | None = None
    queues: tuple[Interval, ...] = ()
    """One for each wait; every wait after the first follows a preemption."""
    prefill: Interval | None = None
    prefill_chunks: int = 0
    decode: Interval | None = None
    decode_steps: int = 0
    first_token_ns: int | None = None
    error_type: str | None = None
    """A fault of ours or of the request; not set when the client left."""


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one HTTP request was and how it ended; `end_ns` is when the last byte was sent."""

    trace: TraceContext
    request_id: str
    method: str
    route: str | None
    """The template, "/v1/models/{model}"; None if no route matched."""
    path: str | None = None
    status_code: int | None
    """None if the client left before a status was sent."""
    start_ns: int
    end_ns: int
    error_type: str | None = None
    client_left: bool = False
    scheme: str = "http"
    protocol_version: str = "1.1"
    """"1.1" or "2"."""
    server_address: str | None = None
    server_port: int | None = None
    generation: GenerationRecord | None = None

    @property
    def is_fault(self) -> bool:
        """True for 5xx, and for a stream that began well and ended in an error event."""
        if self.status_code is not None and self.status_code >= 500:
            return True
        began_well = self.status_code is None or self.status_code < 400
        return began_well and self.generation is not None and bool(self.generation.error_type)
