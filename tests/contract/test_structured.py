"""Answers of a given form, as users of OpenAI's SDK ask for them, against a live server."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx
import openai
import pydantic
import pytest

from engine.models.registry import resolve
from engine.text.tokenizer import Tokenizer
from tests.requirements import requirement

MODEL = "kvorum-mini"
USER: list[Any] = [{"role": "user", "content": "What is the weather in Lisbon?"}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "stop"}},
]
BOMB = {"type": "integer", "multipleOf": 999983}


class Weather(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=12)
    kind: Literal["sunny", "rainy"]
    next: list[bool] = pydantic.Field(max_length=3)


def named(schema: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


@requirement("chat.request.response_format.json_schema")
def test_the_sdks_parse_gives_a_model_of_pydantic(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.parse(
        model=MODEL, messages=USER, response_format=Weather, max_tokens=300
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)
    with sdk.chat.completions.stream(
        model=MODEL, messages=USER, response_format=Weather, max_tokens=300
    ) as stream:
        streamed = stream.get_final_completion()
    assert isinstance(streamed.choices[0].message.parsed, Weather)


@requirement("chat.request.response_format.json_object")
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_json_object_gives_an_object(sdk: openai.OpenAI, temperature: float) -> None:
    answer = sdk.chat.completions.create(
        model=MODEL,
        messages=USER,
        response_format={"type": "json_object"},
        temperature=temperature,
        seed=1,
        max_tokens=600,
    )
    choice = answer.choices[0]
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content or ""), dict)
    else:  # cut: then it is the beginning of one
        assert (choice.message.content or "").startswith("{")
    assert temperature or choice.finish_reason == "stop"


@pytest.mark.parametrize(
    ("field", "value", "pattern"),
    [
        ("regex", r"\d{3}-[a-f]{2}", r"\d{3}-[a-f]{2}"),
        ("choice", ["yes", "nö"], "yes|nö"),
        ("grammar", 'start: "a" /[0-9]{2}/', r"a\d\d"),
        ("json", {"enum": ["ü", 5]}, '"ü"|5'),
        ("json", '{"const": true}', "true"),
    ],
)
def test_vllms_forms_work_under_their_names_of_today_and_before(
    sdk: openai.OpenAI, field: str, value: object, pattern: str
) -> None:
    for extra in ({"structured_outputs": {field: value}}, {f"guided_{field}": value}):
        answer = sdk.chat.completions.create(
            model=MODEL, messages=USER, temperature=2, extra_body=extra
        )
        assert re.fullmatch(pattern, answer.choices[0].message.content or "")


@requirement("chat.request.tool_choice.required", "chat.request.tool_choice.named")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", [None, "get_weather", "stop"])
def test_a_forced_call_is_a_call(sdk: openai.OpenAI, name: str | None, stream: bool) -> None:
    named_choice: Any = {"type": "function", "function": {"name": name}}
    fields: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Good morning!"}],
        "tools": TOOLS,
        "tool_choice": named_choice if name else "required",
        "parallel_tool_calls": False,
        "temperature": 1.5,
        "n": 3,
        "seed": 4,
        "max_tokens": 300,
    }
    if stream:
        with sdk.chat.completions.stream(**fields) as events:
            choices: Any = events.get_final_completion().choices
    else:
        choices = sdk.chat.completions.create(**fields).choices
    for choice in choices:
        assert choice.finish_reason == "tool_calls"
        assert not choice.message.content
        (call,) = choice.message.tool_calls or []
        assert call.function.name in ({name} if name else {"get_weather", "stop"})
        arguments = json.loads(call.function.arguments)
        assert isinstance(arguments, dict)
        if call.function.name == "get_weather":
            assert set(arguments) == {"city", "days"}
            assert arguments["days"] in (1, 2, 3)


@requirement("chat.request.tool_choice.allowed_tools")
def test_of_the_allowed_tools_one_is_called(sdk: openai.OpenAI) -> None:
    choice: Any = {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "stop"}}],
        },
    }
    answer = sdk.chat.completions.create(
        model=MODEL, messages=USER, tools=TOOLS, tool_choice=choice, n=4, seed=1, max_tokens=60
    )
    names = {call.function.name for c in answer.choices for call in c.message.tool_calls or []}
    assert names == {"stop"}


@requirement("chat.request.tools.strict")
@pytest.mark.parametrize("stream", [False, True])
def test_a_strict_function_gets_arguments_of_its_schema_if_it_is_called(
    sdk: openai.OpenAI, stream: bool
) -> None:
    strict = {"name": "get_weather", "parameters": CITY, "strict": True}
    fields: Any = {
        "model": MODEL,
        "messages": USER,
        "tools": [{"type": "function", "function": strict}, TOOLS[1]],
        "temperature": 1.2,
        "n": 8,
        "seed": 2,
        "max_tokens": 300,
    }
    if stream:
        with sdk.chat.completions.stream(**fields) as events:
            choices: Any = events.get_final_completion().choices
    else:
        choices = sdk.chat.completions.create(**fields).choices
    calls = [call for choice in choices for call in choice.message.tool_calls or []]
    whole = [
        c
        for choice in choices
        if choice.finish_reason == "tool_calls"
        for c in choice.message.tool_calls
    ]
    assert whole
    assert {call.function.name for call in calls} <= {"get_weather", "stop"}
    for call in whole:
        arguments = json.loads(call.function.arguments)
        if call.function.name == "get_weather":
            assert set(arguments) == {"city", "days"}
            assert arguments["days"] in (1, 2, 3)


def test_a_function_that_need_not_be_called_leaves_text_free(client: openai.OpenAI) -> None:
    strict = {"name": "get_weather", "parameters": CITY, "strict": True}
    messages: list[Any] = [{"role": "user", "content": "Good morning!"}]
    fields: Any = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 60}
    free = client.chat.completions.create(**fields, tools=TOOLS)
    held = client.chat.completions.create(
        **fields, tools=[{"type": "function", "function": strict}, TOOLS[1]]
    )
    for answer in (free, held):
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content


@pytest.mark.parametrize(
    "extra",
    [
        {"response_format": named({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False})},
        {"guided_regex": r"\{\"a\": [12]\}"},
        {"structured_outputs": {"choice": ['{"a": 1}', '{"a": 2}']}},
    ],
)  # fmt: skip
def test_an_answer_is_a_call_or_of_the_form(client: openai.OpenAI, extra: Any) -> None:
    mark = Tokenizer.from_folder(Path(resolve().path)).token_to_id("<tool_call>")
    kinds = set()
    for bias in (0, -100):
        answer = client.chat.completions.create(
            model=MODEL,
            messages=USER,
            tools=TOOLS,
            seed=3,
            max_tokens=300,
            logit_bias={str(mark): bias},
            extra_body=extra,
        )
        (choice,) = answer.choices
        if choice.finish_reason == "tool_calls":
            assert not choice.message.content
            for call in choice.message.tool_calls or []:
                assert isinstance(json.loads(call.function.arguments), dict)
        elif choice.finish_reason == "stop":
            assert json.loads(choice.message.content or "") in ({"a": 1}, {"a": 2})
        kinds.add(choice.finish_reason)
    assert kinds == {"tool_calls", "stop"}


@requirement("chat.request.response_format.schema_refused")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": named({"type": "strin"})}, "response_format.json_schema.schema"),
        ({"response_format": named({"$ref": "#/no"})}, "response_format.json_schema.schema"),
        ({"response_format": named(BOMB)}, "response_format.json_schema.schema"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"guided_grammar": "start: nothing"}, "guided_grammar"),
        ({"guided_json": "x"}, "guided_json"),
        ({"guided_json": {"minimum": 2**53, "type": "integer"}}, "guided_json"),
        (
            {
                "tool_choice": "required",
                "tools": [
                    *TOOLS,
                    {"type": "function", "function": {"name": "f", "parameters": {"type": "null"}}},
                ],
            },
            "tools[2].function.parameters",
        ),
    ],
)
def test_what_cannot_be_kept_is_400_with_its_place_and_harms_nobody(
    client: openai.OpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=USER, extra_body=fields)
    assert refused.value.param == param
    assert "Traceback" not in refused.value.message
    good = client.chat.completions.create(
        model=MODEL, messages=USER, response_format=named({"const": 5})
    )
    assert good.choices[0].message.content == "5"


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ('{"a":' * 70 + "5" + "}" * 70, "nested"),
        ({"enum": list(range(1001))}, "enum values"),
        ({"properties": {str(n): {} for n in range(501)}}, "properties"),
    ],
)
def test_a_schema_beyond_its_limits_is_422(
    client: openai.OpenAI, schema: object, word: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=word):
        client.chat.completions.create(
            model=MODEL, messages=USER, extra_body={"guided_json": schema}
        )


async def test_many_forms_at_once_are_each_kept_to_beside_a_bomb(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:

        async def ask(number: int) -> None:
            answer = await client.chat.completions.create(
                model=MODEL,
                messages=USER,
                temperature=1.5,
                extra_body={"guided_regex": f"{number}-[a-z]{{5}}"},
            )
            assert re.fullmatch(f"{number}-[a-z]{{5}}", answer.choices[0].message.content or "")

        async def free() -> None:
            started_s = time.monotonic()
            await client.chat.completions.create(model=MODEL, messages=USER, max_tokens=5)
            assert time.monotonic() - started_s < 2

        async def bomb() -> None:
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(
                    model=MODEL,
                    messages=USER,
                    response_format=named({**BOMB, "multipleOf": 999979}),
                )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bomb)
            for number in range(32):
                tasks.start_soon(ask, number)
            tasks.start_soon(free)


def test_a_text_of_a_form_that_looks_like_a_call_is_text(client: openai.OpenAI) -> None:
    call = '<tool_call>{"name": "stop", "arguments": {}}</tool_call>'
    answer = client.chat.completions.create(
        model=MODEL, messages=USER, tools=TOOLS, extra_body={"guided_choice": [call]}
    )
    assert answer.choices[0].message.content == call


def test_a_schema_of_null_allows_any_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=USER, response_format=named(None), temperature=0
    )
    json.loads(answer.choices[0].message.content or "")


def test_a_client_that_hangs_up_is_not_vetted_for(url: str, client: openai.OpenAI) -> None:
    for prime in (999961, 999959, 999953, 999931, 999917, 999907, 999883, 999863):
        bomb = named({"type": "integer", "multipleOf": prime})
        body = {"model": MODEL, "messages": USER, "response_format": bomb}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.1)
    started_s = time.monotonic()
    client.chat.completions.create(
        model=MODEL, messages=USER, extra_body={"guided_choice": ["quite new"]}
    )
    assert time.monotonic() - started_s < 8  # a vetter that still tried all would take 24
