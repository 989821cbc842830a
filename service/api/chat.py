"""`POST /v1/chat/completions`: OpenAI's chat, whole or streamed."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from service.answering import AnswerLimits, Patience, build_whole, parse_body
from service.body import read_json
from service.disconnect import unless_disconnected
from service.exchange import Exchange
from service.generation import MAX_INLINE_BYTES
from service.prompt import GenerationRequest
from service.prompt_source import without_effect
from service.sampling import Sampling
from service.schemas.chat_answer import AnswerHead, ChatCompletionBuilder
from service.schemas.chat_checks import parse_chat
from service.schemas.chat_chunks import ChatChunks
from service.schemas.chat_prompt import chat_prompt
from service.schemas.chat_structure import structure_of
from service.sse import EventStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from observability.record import GenerationRecord
    from service.generation import Generator
    from service.prompt import Prepared
    from service.schemas.chat import ChatCompletionRequest


class ChatApi:
    """Turns a body into a generation and its deltas into OpenAI's shapes."""

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
        parse = partial(parse_chat, limits=self._limits.request)
        chat = parse_body(body, parse, exchange, is_lenient=self._limits.is_lenient)
        patience = patience.of_answer(is_streamed=bool(chat.stream))
        head, prepared = await unless_disconnected(
            request.receive, partial(self._prepare, chat, exchange, patience, len(body))
        )

        def report(record: GenerationRecord) -> None:
            exchange.generation = record

        run = partial(self._generator.run, prepared, report)
        if chat.stream:
            chunks = ChatChunks(
                head, num_choices=chat.num_choices, include_usage=chat.includes_usage
            )
            return EventStream(run, chunks, self._limits.stream)
        builder = ChatCompletionBuilder(chat.num_choices, has_logprobs=bool(chat.logprobs))
        await build_whole(run, request.receive, builder)
        answer = msgspec.json.encode(builder.build(head, chat.metadata))
        return Response(answer, media_type="application/json")

    async def _prepare(
        self, chat: ChatCompletionRequest, exchange: Exchange, patience: Patience, num_bytes: int
    ) -> tuple[AnswerHead, Prepared]:
        served = await self._generator.find(chat.model, patience.start_deadline_s)
        head = AnswerHead(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(self._clock_s()),
            model=served.name,
            system_fingerprint=served.fingerprint,
            service_tier=chat.answered_tier,
        )
        structure = await self._generator.threads.run(
            num_bytes > MAX_INLINE_BYTES,
            structure_of,
            chat,
            served,
            self._limits.request.max_tool_schema_bytes,
        )
        request = GenerationRequest(
            source=chat_prompt(chat),
            sampling=Sampling.of(chat),
            structure=structure,
            num_bytes=num_bytes,
            deadline_s=patience.deadline_s,
            start_deadline_s=patience.start_deadline_s,
            max_tokens=chat.num_max_tokens,
            max_tokens_field=chat.max_tokens_field,
            is_one_call=chat.parallel_tool_calls is False,
            priority=chat.priority or 0,
            cache_salt=chat.cache_salt or "",
            response_id=head.id,
            is_streamed=bool(chat.stream),
            traceparent=exchange.trace.traceparent,
        )
        exchange.ignored_fields += without_effect(request.source, served)
        if request.priority and not self._limits.heeds_priority:
            exchange.ignored_fields.append("priority")
        return head, await self._generator.prepare(served, request)
