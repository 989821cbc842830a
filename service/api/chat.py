"""`POST /v1/chat/completions`: OpenAI's chat, whole or streamed."""

from __future__ import annotations

import math
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec
from starlette.responses import Response

from service.body import BodyLimits, read_json
from service.disconnect import unless_disconnected
from service.exchange import Exchange
from service.lenient import parse_leniently
from service.prompt import GenerationRequest, without_effect
from service.request_limits import RequestLimits
from service.schemas.chat_answer import AnswerHead, ChatCompletionBuilder
from service.schemas.chat_checks import parse_chat
from service.schemas.chat_chunks import ChatChunks
from service.schemas.chat_structure import structure_of
from service.sse import EventStream, StreamTiming

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.datastructures import Headers
    from starlette.requests import Request

    from observability.record import GenerationRecord
    from service.generation import Generation, Generator
    from service.prompt import Prepared
    from service.schemas.chat import ChatCompletionRequest
    from service.served_model import ServedModel, ServedModels

# The first is what JavaScript's sends and Python's sent, the second what Python's sends today.
_TIMEOUT_HEADERS = ("x-stainless-timeout", "x-stainless-read-timeout")


class ChatLimits(msgspec.Struct, frozen=True):
    """Bounds of a request; the client's own `x-stainless-timeout` can only shorten its time."""

    body: BodyLimits = BodyLimits()
    request: RequestLimits = RequestLimits()
    stream: StreamTiming = StreamTiming()
    max_request_s: float = 600.0
    is_lenient: bool = False
    heeds_priority: bool = False
    """Whether the scheduling policy looks at `priority`."""


class ChatApi:
    """Turns a body into a generation and its deltas into OpenAI's shapes."""

    def __init__(
        self,
        models: ServedModels,
        generator: Generator,
        limits: ChatLimits,
        *,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._models = models
        self._generator = generator
        self._limits = limits
        self._clock_s = clock_s

    async def create(self, request: Request) -> Response:
        """The answer, whole or as a stream.

        Raises:
            ApiError: the request is at fault, or the engine failed before an answer began.
            ClientDisconnect: the client has left; the engine has been told.
        """
        now_s = anyio.current_time()
        client_deadline_s = now_s + _timeout_of_client(request.headers)
        body = await read_json(request, self._limits.body)
        exchange = Exchange.of(request.scope)
        chat = self._parse(body, exchange)
        served = self._models.find(chat.model)
        head = AnswerHead(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(self._clock_s()),
            model=served.name,
            system_fingerprint=served.fingerprint,
            service_tier=chat.answered_tier,
        )
        deadline_s = now_s + self._limits.max_request_s
        start_deadline_s = min(deadline_s, client_deadline_s)
        prepare = partial(
            self._prepare,
            served,
            chat,
            head,
            exchange,
            # A client reads a stream bit by bit: its patience is for the beginning.
            deadline_s if chat.stream else start_deadline_s,
            start_deadline_s,
            len(body),
        )
        prepared = await unless_disconnected(request.receive, prepare)

        def report(record: GenerationRecord) -> None:
            exchange.generation = record

        run = partial(self._generator.run, prepared, report)
        if chat.stream:
            chunks = ChatChunks(
                head, num_choices=chat.num_choices, include_usage=chat.includes_usage
            )
            return EventStream(run, chunks, self._limits.stream)
        return await _whole(run, request, head, chat)

    def _parse(self, body: bytes, exchange: Exchange) -> ChatCompletionRequest:
        parse = partial(parse_chat, limits=self._limits.request)
        if not self._limits.is_lenient:
            return parse(body)
        chat, exchange.ignored_fields = parse_leniently(body, parse)
        return chat

    async def _prepare(
        self,
        served: ServedModel,
        chat: ChatCompletionRequest,
        head: AnswerHead,
        exchange: Exchange,
        deadline_s: float,
        start_deadline_s: float,
        num_bytes: int,
    ) -> Prepared:
        request = GenerationRequest(
            messages=chat.template_messages(),
            tools=chat.template_tools(),
            structure=structure_of(chat, served, self._limits.request.max_tool_schema_bytes),
            num_bytes=num_bytes,
            deadline_s=deadline_s,
            start_deadline_s=start_deadline_s,
            max_tokens=chat.num_max_tokens,
            max_tokens_field=chat.max_tokens_field,
            temperature=1.0 if chat.temperature is None else chat.temperature,
            top_p=1.0 if chat.top_p is None else chat.top_p,
            top_k=max(chat.top_k or 0, 0),
            min_p=chat.min_p or 0.0,
            presence_penalty=chat.presence_penalty or 0.0,
            frequency_penalty=chat.frequency_penalty or 0.0,
            repetition_penalty=chat.repetition_penalty or 1.0,
            logit_bias=tuple((int(key), bias) for key, bias in (chat.logit_bias or {}).items()),
            min_tokens=chat.min_tokens or 0,
            ignore_eos=bool(chat.ignore_eos),
            num_choices=chat.num_choices,
            num_logprobs=chat.num_logprobs,
            seed=chat.seed,
            stop=chat.stop_strings,
            stop_token_ids=tuple(chat.stop_token_ids or ()),
            is_one_call=chat.parallel_tool_calls is False,
            skip_special_tokens=chat.skip_special_tokens is not False,
            reasoning_effort=chat.reasoning_effort,
            template_kwargs=chat.template_kwargs(),
            add_generation_prompt=chat.add_generation_prompt is not False,
            continue_final_message=bool(chat.continue_final_message),
            priority=chat.priority or 0,
            cache_salt=chat.cache_salt or "",
            response_id=head.id,
            is_streamed=bool(chat.stream),
            traceparent=exchange.trace.traceparent,
        )
        exchange.ignored_fields += without_effect(request, served)
        if request.priority and not self._limits.heeds_priority:
            exchange.ignored_fields.append("priority")
        return await self._generator.prepare(served, request)


async def _whole(
    run: Callable[[], AbstractAsyncContextManager[Generation]],
    request: Request,
    head: AnswerHead,
    chat: ChatCompletionRequest,
) -> Response:
    """Nobody watches the client of an answer that is not streamed, unless we do. Its SDK would
    send the request twice more, so work for a client that has left is work done three times."""
    builder = ChatCompletionBuilder(chat.num_choices, has_logprobs=bool(chat.logprobs))
    async with run() as generation:
        await unless_disconnected(request.receive, partial(_collect, generation, builder))
    answer = msgspec.json.encode(builder.build(head, chat.metadata))
    return Response(answer, media_type="application/json")


async def _collect(generation: Generation, builder: ChatCompletionBuilder) -> None:
    while not generation.is_over:
        builder.add(await generation.receive())


def _timeout_of_client(headers: Headers) -> float:
    """After how many seconds the client gives up, as OpenAI's SDKs say; infinite if they do not."""
    return min(_seconds(headers.get(name)) for name in _TIMEOUT_HEADERS)


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or "inf")
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf
