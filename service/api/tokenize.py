"""`POST /tokenize` and `POST /detokenize`, as vLLM has them: what a prompt is made of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec
from starlette.responses import Response

from service.answering import Patience, parse_body
from service.body import read_json
from service.disconnect import unless_disconnected
from service.errors import Timeout
from service.exchange import Exchange
from service.generation import MAX_INLINE_BYTES
from service.prompt_source import encode, without_effect
from service.schemas.tokenize import Detokenized, Tokenized, parse_detokenize, parse_tokenize

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from service.answering import AnswerLimits
    from service.generation import Generator
    from service.models.registry import ModelRegistry
    from service.prompt_source import TokenPrompt
    from service.schemas.tokenize import DetokenizeRequest, TokenizeRequest
    from service.served_model import ServedModel

Asked = TypeVar("Asked")


class TokenizeApi:
    """Encodes and decodes what a completion or a chat would."""

    def __init__(self, generator: Generator, registry: ModelRegistry, limits: AnswerLimits) -> None:
        self._generator = generator
        self._registry = registry
        self._limits = limits

    async def tokenize(self, request: Request) -> Response:
        """The token ids of a text or a conversation.

        Raises:
            ApiError: the request is at fault, or the model is not there.
            ClientDisconnect: the client has left.
        """
        return await self._answer(request, parse_tokenize, self._tokenized)

    async def detokenize(self, request: Request) -> Response:
        """The text of token ids.

        Raises:
            ApiError: the request is at fault, or the model is not there.
            ClientDisconnect: the client has left.
        """
        return await self._answer(request, parse_detokenize, self._detokenized)

    async def _answer(
        self,
        request: Request,
        parse: Callable[[bytes], Asked],
        work: Callable[[Asked, bool, Exchange, float], Awaitable[msgspec.Struct]],
    ) -> Response:
        patience = Patience.of(request.headers, self._limits.max_request_s)
        body = await read_json(request, self._limits.body)
        exchange = Exchange.of(request.scope)
        asked = parse_body(body, parse, exchange, is_lenient=self._limits.is_lenient)
        deadline_s = patience.start_deadline_s
        with anyio.CancelScope(deadline=deadline_s):
            answer = await unless_disconnected(
                request.receive,
                partial(work, asked, len(body) > MAX_INLINE_BYTES, exchange, deadline_s),
            )
            return Response(msgspec.json.encode(answer), media_type="application/json")
        raise Timeout("The prompt could not be looked at within the request's time.")

    async def _tokenized(
        self, asked: TokenizeRequest, is_large: bool, exchange: Exchange, deadline_s: float
    ) -> Tokenized:
        model = self._registry.find(asked.model or self._registry.first.name)
        source = asked.source(model.name, self._limits.request)
        served = await self._generator.find(model.name, deadline_s)
        exchange.ignored_fields += without_effect(source, served)
        threads = self._generator.threads
        tokens = await threads.run(is_large, encode, served, source, model.max_model_len)
        return Tokenized(
            count=len(tokens),
            max_model_len=model.max_model_len,
            tokens=tokens,
            token_strs=(
                await threads.run(is_large, _strings, served, tokens)
                if asked.return_token_strs
                else None
            ),
        )

    async def _detokenized(
        self, asked: DetokenizeRequest, is_large: bool, _: Exchange, deadline_s: float
    ) -> Detokenized:
        model = self._registry.find(asked.model or self._registry.first.name)
        served = await self._generator.find(model.name, deadline_s)
        text = await self._generator.threads.run(
            is_large, _decoded, served, asked.source(), model.max_model_len
        )
        return Detokenized(text)


def _strings(served: ServedModel, tokens: list[int]) -> list[str]:
    tokenizer = served.tokenizer
    return [
        tokenizer.visible_token(token_id, skip_special_tokens=False) or "" for token_id in tokens
    ]


def _decoded(served: ServedModel, prompt: TokenPrompt, max_model_len: int) -> str:
    token_ids = encode(served, prompt, max_model_len)
    return served.tokenizer.decode(token_ids, skip_special_tokens=False)
