"""What a generation took, from the engine's timings and our own: numbers and names, no content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.record import GenerationRecord, Interval

if TYPE_CHECKING:
    from engine.protocol import RequestTimings
    from service.prompt import Prepared


def record_of(
    prepared: Prepared,
    timings: RequestTimings | None,
    *,
    num_cached_tokens: int,
    num_output_tokens: int,
    finish_reasons: tuple[str, ...],
    error_type: str | None,
    end_ns: int,
) -> GenerationRecord:
    """The record of a generation that is over; `timings` is None if the engine gave none."""
    request, params = prepared.request, prepared.submit.params
    first_token_ns = timings.first_token_ns if timings is not None else 0
    return GenerationRecord(
        operation=request.operation,
        model=prepared.served.name,
        response_id=request.response_id or None,
        stream=request.is_streamed,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k or None,
        seed=params.seed,
        prompt_tokens=prepared.num_prompt_tokens,
        cached_tokens=num_cached_tokens,
        output_tokens=num_output_tokens,
        finish_reasons=finish_reasons,
        choice_count=prepared.submit.num_samples,
        start_ns=prepared.start_ns,
        end_ns=end_ns,
        tokenize=Interval(prepared.tokenize_start_ns, prepared.tokenize_end_ns),
        queues=_queues(timings),
        prefill=_interval(timings.prefill_start_ns, first_token_ns) if timings else None,
        prefill_chunks=timings.num_prefill_chunks if timings else 0,
        decode=_interval(first_token_ns, timings.last_token_ns) if timings else None,
        decode_steps=timings.num_decode_steps if timings else 0,
        first_token_ns=first_token_ns or None,
        error_type=error_type,
    )


def _queues(timings: RequestTimings | None) -> tuple[Interval, ...]:
    if timings is None:
        return ()
    return tuple(Interval(start_ns, end_ns) for start_ns, end_ns in timings.queues)


def _interval(start_ns: int, end_ns: int) -> Interval | None:
    """From start to end; None if either never came."""
    return Interval(start_ns, end_ns) if start_ns and end_ns else None
