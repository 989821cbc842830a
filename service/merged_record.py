"""The record of a request with several prompts, from those of its generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observability.record import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from observability.record import GenerationRecord


def merged_record(records: Sequence[GenerationRecord]) -> GenerationRecord:
    """Counts are added up; a phase lasts from the first one's start to the last one's end."""
    if len(records) == 1:
        return records[0]
    waits = [wait for record in records for wait in record.queues[:1]]
    more_waits = [wait for record in records for wait in record.queues[1:]]
    first_tokens_ns = [r.first_token_ns for r in records if r.first_token_ns is not None]
    return msgspec.structs.replace(
        records[0],
        prompt_tokens=sum(record.prompt_tokens for record in records),
        cached_tokens=sum(record.cached_tokens for record in records),
        output_tokens=sum(record.output_tokens for record in records),
        choice_count=sum(record.choice_count for record in records),
        finish_reasons=tuple(reason for record in records for reason in record.finish_reasons),
        start_ns=min(record.start_ns for record in records),
        end_ns=max(record.end_ns for record in records),
        tokenize=_hull(record.tokenize for record in records),
        queues=(*filter(None, [_hull(waits)]), *more_waits),
        prefill=_hull(record.prefill for record in records),
        prefill_chunks=sum(record.prefill_chunks for record in records),
        decode=_hull(record.decode for record in records),
        decode_steps=sum(record.decode_steps for record in records),
        first_token_ns=min(first_tokens_ns, default=None),
        error_type=next((r.error_type for r in records if r.error_type is not None), None),
    )


def _hull(intervals: Iterable[Interval | None]) -> Interval | None:
    known = [interval for interval in intervals if interval is not None]
    if not known:
        return None
    return Interval(min(i.start_ns for i in known), max(i.end_ns for i in known))
