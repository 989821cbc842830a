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
from service.prompt import GenerationRequest
from service.schemas.chat import ChatCompletionRequest
from service.schemas.chat_answer import AnswerHead, ChatChunks, completion
from service.sse import EventStream, StreamTiming

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.datastructures import Headers
    from starlette.requests import Request

    from observability.record import GenerationRecord
    from service.deltas import Delta
    from service.generation import Generation, Generator
    from service.prompt import Prepared
    from service.served_model import ServedModel, ServedModels


class ChatLimits(msgspec.Struct, frozen=True):
    """Bounds of a request; the client's own `x-stainless-timeout` can only shorten its time."""

    body: BodyLimits = BodyLimits()
    stream: StreamTiming = StreamTiming()
    max_request_s: float = 600.0


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
        max_s = min(self._limits.max_request_s, _timeout_of_client(request.headers))
        deadline_s = anyio.current_time() + max_s
        body = await read_json(request, self._limits.body)
        chat = ChatCompletionRequest.parse(body)
        served = self._models.find(chat.model)
        exchange = Exchange.of(request.scope)
        head = AnswerHead(
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=int(self._clock_s()),
            model=served.name,
            system_fingerprint=served.fingerprint,
        )
        prepared = await self._prepare(served, chat, head, exchange, deadline_s, len(body))

        def report(record: GenerationRecord) -> None:
            exchange.generation = record

        run = partial(self._generator.run, prepared, report)
        if chat.stream:
            return EventStream(run, ChatChunks(head, chat.includes_usage), self._limits.stream)
        return await _whole(run, request, head)

    async def _prepare(
        self,
        served: ServedModel,
        chat: ChatCompletionRequest,
        head: AnswerHead,
        exchange: Exchange,
        deadline_s: float,
        num_bytes: int,
    ) -> Prepared:
        request = GenerationRequest(
            messages=chat.template_messages(),
            tools=chat.template_tools(),
            num_bytes=num_bytes,
            deadline_s=deadline_s,
            max_tokens=chat.num_max_tokens,
            max_tokens_field=chat.max_tokens_field,
            temperature=1.0 if chat.temperature is None else chat.temperature,
            top_p=1.0 if chat.top_p is None else chat.top_p,
            top_k=max(chat.top_k or 0, 0),
            seed=chat.seed,
            stop=chat.stop_strings,
            stop_token_ids=tuple(chat.stop_token_ids or ()),
            response_id=head.id,
            is_streamed=bool(chat.stream),
            traceparent=exchange.trace.traceparent,
        )
        return await self._generator.prepare(served, request)


async def _whole(
    run: Callable[[], AbstractAsyncContextManager[Generation]], request: Request, head: AnswerHead
) -> Response:
    """Nobody watches the client of an answer that is not streamed, unless we do. Its SDK would
    send the request twice more, so work for a client that has left is work done three times."""
    async with run() as generation:
        deltas = await unless_disconnected(request.receive, partial(_collect, generation))
    answer = msgspec.json.encode(completion(head, deltas))
    return Response(answer, media_type="application/json")


async def _collect(generation: Generation) -> list[Delta]:
    deltas: list[Delta] = []
    while not generation.is_over:
        deltas += await generation.receive()
    return deltas


def _timeout_of_client(headers: Headers) -> float:
    """After how many seconds the client gives up, as OpenAI's SDK says; infinite if it does not."""
    try:
        timeout_s = float(headers.get("x-stainless-timeout", "inf"))
    except ValueError:
        return math.inf
    return timeout_s if timeout_s > 0 else math.inf
