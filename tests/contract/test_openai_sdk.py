"""What a user of OpenAI's SDK sees, against a live server."""

from __future__ import annotations

import json
import re
from typing import Any

import anyio
import httpx
import openai
import pytest

from tests.contract.conftest import metric
from tests.requirements import requirement

MODEL = "kvorum-mini"
SUM: list[Any] = [{"role": "user", "content": "What is 17 + 25?"}]
FACT: list[Any] = [
    {"role": "user", "content": "Mira lives in Tolbek. Jonas lives in Arvin. Where does Mira live?"}
]


def test_a_question_is_answered_right(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=SUM, temperature=0)
    assert answer.choices[0].message.content is not None
    assert re.search(r"\b42\b", answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_fact_of_the_prompt_is_found(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=FACT, temperature=0)
    assert "Tolbek" in (answer.choices[0].message.content or "")


@requirement("chat.stream.head", "chat.stream.usage_last")
def test_a_stream_has_the_text_of_the_whole_answer_and_its_usage_last(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(model=MODEL, messages=SUM, temperature=0)
    chunks = list(
        sdk.chat.completions.create(
            model=MODEL,
            messages=SUM,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_the_sdks_stream_helper_puts_the_answer_together(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model=MODEL, messages=SUM, temperature=0) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done", "chunk"} <= kinds
    assert "42" in (final.choices[0].message.content or "")


@requirement("chat.request.tools")
def test_what_the_stream_helper_hands_out_can_be_sent_back(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model=MODEL, messages=SUM, temperature=0) as stream:
        message: Any = stream.get_final_completion().choices[0].message
    again = sdk.chat.completions.create(model=MODEL, messages=[*SUM, message, *SUM], max_tokens=1)
    assert again.choices[0].finish_reason


def test_a_tool_is_called_and_its_result_used(sdk: openai.OpenAI) -> None:
    tool: Any = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Lisbon?"}]
    first = sdk.chat.completions.create(model=MODEL, messages=messages, tools=[tool], temperature=0)
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    assert message.content is None
    assert message.tool_calls
    call: Any = message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Lisbon"}
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"},
    ]
    second = sdk.chat.completions.create(
        model=MODEL, messages=messages, tools=[tool], temperature=0
    )
    assert second.choices[0].finish_reason == "stop"
    assert "sunny" in (second.choices[0].message.content or "")


def test_a_stop_string_ends_the_answer_before_itself(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(model=MODEL, messages=SUM, temperature=0)
    text = whole.choices[0].message.content or ""
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    cut = sdk.chat.completions.create(model=MODEL, messages=SUM, temperature=0, stop=stop)
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


@requirement("chat.request.seed")
def test_a_seed_gives_the_same_text_again(sdk: openai.OpenAI) -> None:
    def draw(seed: int) -> str | None:
        answer = sdk.chat.completions.create(
            model=MODEL, messages=SUM, temperature=2, seed=seed, max_tokens=20
        )
        return answer.choices[0].message.content

    assert draw(5) == draw(5)
    assert len({draw(seed) for seed in range(5)}) > 1


@requirement("chat.request.max_completion_tokens")
def test_max_tokens_ends_with_length(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model=MODEL, messages=SUM, temperature=0, max_completion_tokens=3
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


@requirement("chat.request.model", "chat.request.unknown_field", "errors.400.context", "errors.sdk")
def test_errors_arrive_as_the_sdks_own_types(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as not_found:
        sdk.chat.completions.create(model="gpt-4", messages=SUM)
    assert not_found.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError) as unknown:
        sdk.chat.completions.create(model=MODEL, messages=SUM, extra_body={"temperatur": 1})
    assert unknown.value.param == "temperatur"
    with pytest.raises(openai.BadRequestError) as too_long:
        sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "a b " * 5000}]
        )
    assert too_long.value.code == "context_length_exceeded"


@requirement("models.list")
def test_models_are_listed_and_found(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == [MODEL]
    assert sdk.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("some/other")


async def test_concurrent_streams_share_steps_and_give_what_each_gives_alone(url: str) -> None:
    questions = [f"What is {a} + {b}?" for a in range(11, 19) for b in range(21, 25)]
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:

        async def ask(question: str) -> str:
            stream = await client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": question}],
                temperature=0,
                max_tokens=40,
                stream=True,
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        together: dict[str, str] = {}

        async def note(question: str) -> None:
            together[question] = await ask(question)

        steps, tokens = metric(url, "kvorum_engine_steps_total"), generated(url)
        async with anyio.create_task_group() as tasks:
            for question in questions:
                tasks.start_soon(note, question)
        steps, tokens = metric(url, "kvorum_engine_steps_total") - steps, generated(url) - tokens
        assert steps < tokens / 4
        alone = {question: await ask(question) for question in questions}
    assert together == alone


def generated(url: str) -> float:
    return metric(url, "kvorum_generated_tokens_total")


async def test_two_hundred_clients_that_vanish_after_a_token_leave_nothing_in_use(url: str) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Repeat: " + "a b c d " * 40}],
        "stream": True,
        "max_tokens": 500,
        "temperature": 1.5,
    }
    limits = httpx.Limits(max_connections=50)
    async with (
        httpx.AsyncClient(limits=limits, timeout=60) as http,
        anyio.create_task_group() as tasks,
    ):

        async def come_and_go() -> None:
            async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
                assert response.status_code == 200
                async for line in response.aiter_lines():
                    if "content" in line:
                        return

        for _ in range(200):
            tasks.start_soon(come_and_go)
    with anyio.fail_after(10):
        # Another process: there is no event to wait for.
        while metric(url, "kvorum_kv_blocks_used") or metric(url, "kvorum_requests_running"):
            await anyio.sleep(0.02)
