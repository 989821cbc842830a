"""`POST /v1/completions`: OpenAI's older API, texts gone on with, whole or streamed."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from service.answering import Patience, build_whole, parse_body
from service.body import read_json
from service.disconnect import unless_disconnected
from service.errors import ValidationFault
from service.exchange import Exchange
from service.fan_in import fan_in
from service.generation import MAX_INLINE_BYTES
from service.merged_record import merged_record
from service.prompt import GenerationRequest
from service.sampling import Sampling
from service.schemas.chat_answer import AnswerHead
from service.schemas.completions_answer import CompletionBuilder
from service.schemas.completions_checks import parse_completion
from service.schemas.completions_chunks import CompletionChunks
from service.schemas.completions_structure import structure_of
from service.sse import EventStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request

    from observability.record import GenerationRecord
    from service.answering import AnswerLimits
    from service.deltas import AnswerSource
    from service.generation import Generator
    from service.prompt import Prepared
    from service.schemas.completions import CompletionRequest

MAX_INLINE_SCORES = 256
"""An answer with more scores is put together in a thread: it would hold up every stream."""

MAX_ECHOED_SCORES = 2**18
"""Scores of prompts in one answer, each some 100 bytes: they come once for each choice."""


class CompletionsApi:
    """Turns a body into a generation for each prompt and their deltas into OpenAI's shapes."""

    def __init__(
        self,
        generator: Generator,
        limits: AnswerLimits,
        *,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._generator = generator
        self._limits = limits
        self._clock_s = clock_s

    async def create(self, request: Request) -> Response:
        """The answer, whole or as a stream.

        Raises:
            ApiError: the request is at fault, or the engine failed before an answer began.
            ClientDisconnect: the client has left; the engine has been told.
        """
        patience = Patience.of(request.headers, self._limits.max_request_s)
        body = await read_json(request, self._limits.body)
        exchange = Exchange.of(request.scope)
        parse = partial(parse_completion, limits=self._limits.request)
        asked = parse_body(body, parse, exchange, is_lenient=self._limits.is_lenient)
        patience = patience.of_answer(is_streamed=bool(asked.stream))
        head, prepared = await unless_disconnected(
            request.receive, partial(self._prepare, asked, exchange, patience, len(body))
        )
        run = self._run(prepared, exchange, asked.num_choices)
        if asked.stream:
            chunks = CompletionChunks(head, include_usage=asked.includes_usage)
            return EventStream(run, chunks, self._limits.stream)
        builder = CompletionBuilder(
            len(prepared) * asked.num_choices, has_logprobs=asked.logprobs is not None
        )
        await build_whole(run, request.receive, builder)
        is_large = builder.num_scores > MAX_INLINE_SCORES
        answer = await self._generator.threads.run(is_large, _encoded, builder, head)
        return Response(answer, media_type="application/json")

    async def _prepare(
        self, asked: CompletionRequest, exchange: Exchange, patience: Patience, num_bytes: int
    ) -> tuple[AnswerHead, list[Prepared]]:
        served = await self._generator.find(asked.model, patience.start_deadline_s)
        head = AnswerHead(
            id=f"cmpl-{secrets.token_hex(12)}",
            created=int(self._clock_s()),
            model=served.name,
            system_fingerprint=served.fingerprint,
        )
        if asked.priority and not self._limits.heeds_priority:
            exchange.ignored_fields.append("priority")
        sampling = Sampling.of(asked)
        structure = await self._generator.threads.run(
            num_bytes > MAX_INLINE_BYTES,
            structure_of,
            asked,
            served,
            self._limits.request.max_tool_schema_bytes,
        )
        requests = [
            GenerationRequest(
                source=source,
                sampling=sampling,
                structure=structure,
                num_bytes=num_bytes,
                deadline_s=patience.deadline_s,
                start_deadline_s=patience.start_deadline_s,
                max_tokens=asked.num_max_tokens,
                is_echoed=bool(asked.echo),
                scores_stop=True,
                priority=asked.priority or 0,
                cache_salt=asked.cache_salt or "",
                operation="text_completion",
                response_id=head.id,
                is_streamed=bool(asked.stream),
                traceparent=exchange.trace.traceparent,
            )
            for source in asked.sources()
        ]
        prepared = [await self._generator.prepare(served, request) for request in requests]
        if asked.echo and asked.logprobs is not None:
            _check_scores(sum(p.num_prompt_tokens for p in prepared) * asked.num_choices)
        return head, prepared

    def _run(
        self, prepared: Sequence[Prepared], exchange: Exchange, num_choices: int
    ) -> Callable[[], AbstractAsyncContextManager[AnswerSource]]:
        """What starts the generations. One alone has no use for a task of its own."""
        records: list[GenerationRecord] = []

        def report(record: GenerationRecord) -> None:
            records.append(record)
            exchange.generation = merged_record(records)

        runs = [partial(self._generator.run, each, report) for each in prepared]
        return runs[0] if len(runs) == 1 else partial(fan_in, runs, num_choices)


def _check_scores(num_scores: int) -> None:
    if num_scores > MAX_ECHOED_SCORES:
        raise ValidationFault(
            f"With `echo` the answer would have {num_scores} scores of prompts, more than the "
            f"{MAX_ECHOED_SCORES} that are allowed. Send fewer prompts at once.",
            param="echo",
        )


def _encoded(builder: CompletionBuilder, head: AnswerHead) -> bytes:
    return msgspec.json.encode(builder.build(head))
