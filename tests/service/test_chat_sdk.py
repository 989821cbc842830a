"""The real OpenAI SDK against the route, in this process. (Its transport buffers streams.)"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from engine.errors import ENGINE_ERROR
from engine.protocol import Failed, Started, Tokens
from tests.fakes import FakeEngine
from tests.requirements import requirement
from tests.service.chat_client import MODEL, chat_app, ids_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai.types.chat import ChatCompletionToolParam, ChatCompletionUserMessageParam

TEXT = "Hello, wörld! 🌍"
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
USER: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hi"}]
TOOLS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def sdk(engine: FakeEngine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        chat_app(engine) as app,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http,
        openai.AsyncOpenAI(
            api_key="none", base_url="http://test/v1", http_client=http, max_retries=2
        ) as client,
    ):
        yield client


async def test_a_whole_answer() -> None:
    async with sdk(FakeEngine(ids_of(TEXT))) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=USER)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(ids_of(TEXT)) + 1  # with the stop token


async def test_a_stream_with_usage() -> None:
    async with sdk(FakeEngine(ids_of(TEXT))) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=USER, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chunks[:-1])


@requirement("chat.stream.helper")
async def test_the_stream_helper_puts_the_answer_together() -> None:
    async with (
        sdk(FakeEngine(ids_of(TEXT))) as client,
        client.chat.completions.stream(model=MODEL, messages=USER) as stream,
    ):
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == TEXT


@requirement("chat.request.parallel_tool_calls", "chat.stream.helper")
@pytest.mark.parametrize("text", [CALL, "Let me see. " + CALL + CALL])
async def test_the_stream_helper_puts_calls_together(text: str) -> None:
    async with (
        sdk(FakeEngine(ids_of(text))) as client,
        client.chat.completions.stream(model=MODEL, messages=USER, tools=TOOLS) as stream,
    ):
        answer = await stream.get_final_completion()
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.arguments for call in calls] == ['{"a": 1}'] * text.count("<tool_call>")
    assert len({call.id for call in calls}) == len(calls)


@requirement("chat.request.messages.history")
async def test_an_answer_with_calls_can_be_sent_back() -> None:
    engine = FakeEngine(ids_of(CALL))
    async with sdk(engine) as client:
        first = await client.chat.completions.create(model=MODEL, messages=USER, tools=TOOLS)
        message = first.choices[0].message
        assert message.tool_calls is not None
        history: list[Any] = [
            *USER,
            message,
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "5"},
        ]
        await client.chat.completions.create(model=MODEL, messages=history, tools=TOOLS)
    assert len(engine.submits) == 2


@requirement("errors.sdk")
@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"temperature": 5}, openai.UnprocessableEntityError, "temperature"),
        ({"extra_body": {"temprature": 1}}, openai.UnprocessableEntityError, "temprature"),
        ({"n": 17}, openai.UnprocessableEntityError, "n"),
        ({"model": "gpt-4o"}, openai.NotFoundError, "model"),
        (
            {"messages": [{"role": "user", "content": "a b c " * 200}]},
            openai.BadRequestError,
            "messages",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_is_raised_once_with_its_field(
    fields: dict[str, Any], kind: type[openai.APIStatusError], param: str, stream: bool
) -> None:
    async with sdk(FakeEngine()) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(
                **{"model": MODEL, "messages": USER, "stream": stream} | fields
            )
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


@requirement("errors.no_retry")
async def test_a_failure_of_the_engine_is_not_repeated() -> None:
    engine = FakeEngine(lambda _: [Failed(ENGINE_ERROR, "The forward pass failed.")])
    async with sdk(engine) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=MODEL, messages=USER)
    assert caught.value.code == ENGINE_ERROR
    assert len(engine.submits) == 1


async def test_a_failure_in_a_stream_is_raised_behind_the_text() -> None:
    engine = FakeEngine(
        lambda _: [Started(1, 0), Tokens(tuple(ids_of("Hel"))), Failed(ENGINE_ERROR, "It failed.")]
    )
    text = ""
    async with sdk(engine) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=USER, stream=True)
        with pytest.raises(openai.APIError, match="It failed"):  # noqa: PT012
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
    assert text == "Hel"
