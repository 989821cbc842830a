"""The completions route alone over a fake engine, and engines that score what they say."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from engine.protocol import PromptLogprobs, RequestEvent, Started, TokenLogprobs, Tokens
from service.answering import AnswerLimits
from service.api.completions import CompletionsApi
from service.generation import Generator
from tests.fakes import finished
from tests.service.chat_client import MODEL, Call, RouteApp, ids_of, manager_of, served_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import ASGIApp

    from engine.client import EngineClient
    from engine.protocol import Submit
    from service.served_model import ServedModel
    from tests.fakes import FakeEngine, Script


def body_of(**fields: object) -> bytes:
    return json.dumps({"model": MODEL, "prompt": "Hi"} | fields).encode()


class CompletionsApp(RouteApp):
    """The route of completions."""

    def __init__(
        self, client: EngineClient, limits: AnswerLimits, model: ServedModel, **options: Any
    ) -> None:
        generator = Generator(manager_of(client, model), **options)
        super().__init__(client, CompletionsApi(generator, limits))


@asynccontextmanager
async def completions_app(
    engine: FakeEngine,
    limits: AnswerLimits | None = None,
    model: ServedModel | None = None,
    **options: Any,
) -> AsyncIterator[CompletionsApp]:
    async with engine() as client:
        yield CompletionsApp(client, limits or AnswerLimits(), model or served_model(), **options)


async def post(app: ASGIApp, **fields: object) -> Call:
    with anyio.fail_after(10):
        return await Call(app, body_of(**fields)).run()


def joined(call: Call) -> list[dict[str, Any]]:
    """The choices of a stream, put together as those of a whole answer are."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in call.events[:-1]:
        for piece in chunk["choices"]:
            choice = choices.setdefault(
                piece["index"],
                {"text": "", "index": piece["index"], "logprobs": None, "finish_reason": None},
            )
            assert choice["finish_reason"] is None, "nothing comes after the end"
            choice["text"] += piece["text"]
            choice["finish_reason"] = piece["finish_reason"]
            for name, values in (piece["logprobs"] or {}).items():
                choice["logprobs"] = choice["logprobs"] or {}
                choice["logprobs"].setdefault(name, []).extend(values)
    return [choice for _, choice in sorted(choices.items())]


def score(
    token_id: int, logprob: float, others: Mapping[int, float] | None = None
) -> TokenLogprobs:
    """Of a token which is the likeliest, unless others are."""
    top = {token_id: logprob} if others is None else others
    return TokenLogprobs(token_id, logprob, tuple(top), tuple(top.values()))


def says(texts: Mapping[str, str], *, end: bool = True) -> Script:
    """An engine that goes on with each prompt as `texts` say, and scores its tokens: the n-th of
    prompt and answer has -n/8. It ends by itself, or says its end as a token if it does not know
    that it is one."""
    by_ids = {tuple(ids_of(prompt)): ids_of(text) for prompt, text in texts.items()}
    (stop_id, *_) = sorted(served_model().card.eos_token_ids)

    def script(submit: Submit) -> list[RequestEvent]:
        prompt, params = submit.prompt_token_ids, submit.params
        said = [*by_ids[tuple(prompt)], *([stop_id] if end else [])][: params.max_tokens]
        is_stopped = bool(said) and said[-1] in params.stop_token_ids
        events: list[RequestEvent] = [Started(len(prompt), 0)]
        if params.num_prompt_logprobs is not None:
            scores = [score(token_id, -at / 8) for at, token_id in enumerate(prompt)]
            events.append(PromptLogprobs((None, *scores[1:])))
        for at, token_id in enumerate(said[:-1] if is_stopped else said, len(prompt)):
            logprobs = () if params.num_logprobs is None else (score(token_id, -at / 8),)
            events += [Tokens((token_id,), k, logprobs) for k in range(submit.num_samples)]
        return [*events, finished(submit, len(said), "stop" if is_stopped else "length")]

    return script
