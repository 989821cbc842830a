"""Every fault of a chat request has one shape, and what changes nothing is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import ApiError, error_response
from service.request_limits import RequestLimits
from service.schemas.chat import ChatCompletionRequest
from service.schemas.chat_checks import REFUSED, parse_chat
from tests.requirements import requirement
from tests.service.chat_client import USER, body_of

TOOL = {"type": "function", "function": {"name": "f"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def tool(**function: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f"} | function}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def user(content: object, **fields: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": content} | fields]


BAD: list[tuple[int, str | None, str | None, bytes]] = [
    # status, code, param, body
    (400, None, None, b""),
    (400, None, None, b"{"),
    (400, None, None, b"\xff\xfe"),
    (400, None, None, body_of(temperature=float("nan"))),
    (400, None, None, body_of(temperature=float("inf"))),
    (400, None, None, body_of().replace(b"Hi", b"\\ud800")),
    (422, "invalid_value", None, b"[]"),
    (422, "invalid_value", None, b'"text"'),
    (422, "missing_field", "messages", b'{"model":"m"}'),
    (422, "missing_field", "model", b'{"messages":[{"role":"user","content":"a"}]}'),
    (422, "invalid_value", "messages", body_of(messages=[])),
    (422, "invalid_value", "messages", body_of(messages=None)),
    (422, "invalid_value", "messages", body_of(messages=USER * 2049)),
    (422, "invalid_value", "messages[0]", body_of(messages=["Hi"])),
    (
        422,
        "invalid_value",
        "messages[0].role",
        body_of(messages=[{"role": "robot", "content": ""}]),
    ),
    (422, "missing_field", "messages[0].role", body_of(messages=[{"content": "Hi"}])),
    (422, "missing_field", "messages[0].content", body_of(messages=[{"role": "user"}])),
    (422, "invalid_value", "messages[0].content", body_of(messages=user(None))),
    (422, "invalid_value", "messages[0].content", body_of(messages=user(5))),
    (422, "invalid_value", "messages[0].content", body_of(messages=user([]))),
    (422, "unknown_field", "messages[0].colour", body_of(messages=user("", colour=1))),
    (422, "missing_field", "messages[0].content[0].type", body_of(messages=user([{"text": ""}]))),
    (
        422,
        "invalid_value",
        "messages[0].content[0].type",
        body_of(messages=user([{"type": "smell"}])),
    ),
    (
        422,
        "unsupported_parameter",
        "messages[0].content[1]",
        body_of(messages=user([{"type": "text", "text": "What is it?"}, IMAGE])),
    ),
    (
        422,
        "missing_field",
        "messages[0].tool_call_id",
        body_of(messages=[{"role": "tool", "content": "5"}]),
    ),
    (
        422,
        "invalid_value",
        "messages[0].content",
        body_of(messages=[{"role": "assistant", "content": None}]),
    ),
    (422, "unknown_field", "temprature", body_of(temprature=1)),
    (422, "unknown_field", "x" * 199 + "…", body_of(**{"x" * 100_000: 1})),
    (422, "invalid_value", "temperature", body_of(temperature="1")),
    (422, "invalid_value", "temperature", body_of(temperature=2.1)),
    (422, "invalid_value", "temperature", body_of(temperature=-1)),
    (422, "invalid_value", "top_p", body_of(top_p=1.5)),
    (422, "invalid_value", "top_p", body_of(top_p=True)),
    (422, "invalid_value", "max_tokens", body_of(max_tokens=0)),
    (422, "invalid_value", "max_tokens", body_of(max_tokens=-1)),
    (422, "invalid_value", "max_tokens", body_of(max_tokens=10**40)),
    (422, "invalid_value", "max_tokens", body_of(max_tokens=1.5)),
    (422, "invalid_value", "max_tokens", body_of(max_tokens=5, max_completion_tokens=6)),
    (422, "invalid_value", "seed", body_of(seed=2**63)),
    (422, "invalid_value", "seed", body_of(seed=-(2**63) - 1)),
    (422, "invalid_value", "top_k", body_of(top_k=-2)),
    (422, "invalid_value", "stop", body_of(stop=["x"] * 17)),
    (422, "invalid_value", "stop[1]", body_of(stop=["x", "y" * 257])),
    (422, "invalid_value", "n", body_of(n=0)),
    (422, "invalid_value", "n", body_of(n=17)),
    (422, "invalid_value", "n", body_of(n=10**18)),
    (422, "invalid_value", "n", body_of(n=True)),
    (422, "invalid_value", "presence_penalty", body_of(presence_penalty=2.1)),
    (422, "invalid_value", "frequency_penalty", body_of(frequency_penalty=-2.1)),
    (422, "invalid_value", "repetition_penalty", body_of(repetition_penalty=0)),
    (422, "invalid_value", "min_p", body_of(min_p=1.1)),
    (422, "invalid_value", "min_tokens", body_of(min_tokens=-1)),
    (422, "invalid_value", "min_tokens", body_of(min_tokens=9, max_tokens=8)),
    (422, "invalid_value", "top_logprobs", body_of(top_logprobs=1)),
    (422, "invalid_value", "top_logprobs", body_of(logprobs=False, top_logprobs=1)),
    (422, "invalid_value", "top_logprobs", body_of(logprobs=True, top_logprobs=21)),
    (422, "invalid_value", "logprobs", body_of(logprobs=2)),
    (422, "invalid_value", "logit_bias", body_of(logit_bias=[])),
    (422, "invalid_value", "logit_bias", body_of(logit_bias={"5": 101})),
    (422, "invalid_value", "logit_bias", body_of(logit_bias={"5": False})),
    (422, "invalid_value", "logit_bias.a", body_of(logit_bias={"a": 1})),
    (422, "invalid_value", "logit_bias.-1", body_of(logit_bias={"-1": 1})),
    (422, "invalid_value", "logit_bias.٣", body_of(logit_bias={"٣": 1})),
    (422, "invalid_value", "logit_bias", body_of(logit_bias={str(n): 1 for n in range(1025)})),
    (422, "invalid_value", "reasoning_effort", body_of(reasoning_effort="great")),
    (422, "invalid_value", "priority", body_of(priority="high")),
    (422, "invalid_value", "cache_salt", body_of(cache_salt="x" * 513)),
    (
        422,
        "unknown_field",
        "chat_template_kwargs.tokenize",
        body_of(chat_template_kwargs={"tokenize": True}),
    ),
    (
        422,
        "invalid_value",
        "chat_template_kwargs.enable_thinking",
        body_of(chat_template_kwargs={"enable_thinking": 1}),
    ),
    (
        422,
        "invalid_value",
        "chat_template_kwargs.date_string",
        body_of(chat_template_kwargs={"date_string": "x" * 257}),
    ),
    (422, "invalid_value", "messages[0]", body_of(continue_final_message=True)),
    (
        422,
        "invalid_value",
        "add_generation_prompt",
        body_of(
            messages=[*USER, {"role": "assistant", "content": "Yes, "}],
            continue_final_message=True,
            add_generation_prompt=True,
        ),
    ),
    (422, "invalid_value", "stop", body_of(stop="x" * 257)),
    (422, "invalid_value", "stop", body_of(stop="")),
    (422, "invalid_value", "stop[1]", body_of(stop=["x", 5])),
    (422, "invalid_value", "stop_token_ids[0]", body_of(stop_token_ids=[-1])),
    (422, "invalid_value", "stream", body_of(stream="yes")),
    (422, "invalid_value", "stream_options", body_of(stream_options={"include_usage": True})),
    (422, "unknown_field", "stream_options.x", body_of(stream=True, stream_options={"x": 1})),
    (422, "invalid_value", "metadata", body_of(metadata={str(n): "" for n in range(17)})),
    (422, "invalid_value", "metadata", body_of(metadata={"a": "x" * 513})),
    (422, "invalid_value", "metadata", body_of(metadata={"x" * 65: ""})),
    (422, "invalid_value", "user", body_of(user="x" * 513)),
    (422, "invalid_value", "service_tier", body_of(service_tier="gold")),
    (422, "invalid_value", "tools", body_of(tools=[])),
    (422, "invalid_value", "tools", body_of(tools=[TOOL] * 129)),
    (422, "invalid_value", "tools[0].function.name", body_of(tools=[tool(name="a b")])),
    (422, "invalid_value", "tools[0].function.name", body_of(tools=[tool(name="a\n")])),
    (422, "invalid_value", "tools[0].function.parameters", body_of(tools=[tool(parameters=[])])),
    (
        413,
        "payload_too_large",
        "tools[1].function.parameters",
        body_of(tools=[TOOL, tool(parameters={"x": "y" * 65536})]),
    ),
    (422, "unsupported_parameter", "tools[0].type", body_of(tools=[{"type": "custom"}])),
    (422, "invalid_value", "tool_choice", body_of(tool_choice="maybe")),
    (422, "invalid_value", "tools", body_of(tool_choice="required")),
    (422, "invalid_value", "tools[2].function.name", body_of(tools=[TOOL, tool(name="g"), TOOL])),
    (
        422,
        "invalid_value",
        "tool_choice.function.name",
        body_of(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
    ),
    (
        422,
        "missing_field",
        "tool_choice.allowed_tools.mode",
        body_of(tools=[TOOL], tool_choice={"type": "allowed_tools", "allowed_tools": {}}),
    ),
    (
        422,
        "invalid_value",
        "tool_choice.allowed_tools.tools",
        body_of(tools=[TOOL], tool_choice=allowed("auto", "f", "g")),
    ),
    (422, "unsupported_parameter", "tool_choice.type", body_of(tool_choice={"type": "custom"})),
    (422, "unknown_field", "tool_choice.x", body_of(tools=[TOOL], tool_choice=TOOL | {"x": 1})),
    (
        422,
        "missing_field",
        "response_format.json_schema",
        body_of(response_format={"type": "json_schema"}),
    ),
    (
        422,
        "missing_field",
        "response_format.json_schema.name",
        body_of(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
    ),
    (422, "invalid_value", "guided_choice", body_of(guided_choice=[])),
    (
        422,
        "unknown_field",
        "structured_outputs.xml",
        body_of(structured_outputs={"xml": "x"}),
    ),
    (422, "invalid_value", "n", body_of(n=10**9)),
    (422, "invalid_value", "response_format.type", body_of(response_format={"type": "xml"})),
    (422, "invalid_value", "reasoning_effort", body_of(reasoning_effort="very")),
    (422, "unsupported_parameter", "modalities", body_of(modalities=["text", "audio"])),
    (422, "unsupported_parameter", "functions", body_of(functions=[])),
    (422, "unsupported_parameter", "function_call", body_of(function_call="auto")),
    (422, "unsupported_parameter", "audio", body_of(audio={"voice": "x"})),
    (422, "unsupported_parameter", "web_search_options", body_of(web_search_options={})),
    (422, "unsupported_parameter", "moderation", body_of(moderation={})),
]


def parse(body: bytes) -> ChatCompletionRequest:
    return parse_chat(body, RequestLimits())


def understand(body: bytes) -> None:
    request = parse(body)
    request.template_messages()
    request.template_tools()
    request.template_kwargs()


@requirement(
    "chat.request.messages.malformed",
    "chat.request.stream_options_alone",
    "chat.request.top_logprobs_alone",
    "chat.request.response_format.unknown",
    "chat.request.tools.custom",
    "chat.request.functions",
    "chat.request.reasoning_effort_unknown",
    "chat.request.media",
    "chat.request.metadata_limits",
    "chat.request.bounds",
    "chat.request.unknown_field",
    "errors.shape",
    "errors.400.json",
    "errors.422",
    "chat.request.messages.parts",
)
@pytest.mark.parametrize(("status", "code", "param", "body"), BAD)
def test_every_fault_has_the_envelope_of_openai(
    status: int, code: str | None, param: str | None, body: bytes
) -> None:
    with pytest.raises(ApiError) as caught:
        understand(body)
    response = error_response(caught.value)
    assert response.status_code == status
    assert len(response.body) < 1200
    answer = json.loads(bytes(response.body))
    message = answer["error"].pop("message")
    assert answer == {"error": {"type": "invalid_request_error", "param": param, "code": code}}
    assert message.endswith(".")
    assert "Traceback" not in message


def test_the_first_of_two_equal_keys_does_not_count() -> None:
    request = parse(body_of().replace(b"{", b'{"n":5,"n":1,', 1))
    assert request.n == 1


HARMLESS = [{name: value} for name, values in REFUSED.items() for value in values]


@requirement(
    "chat.request.seed",
    "chat.request.response_format.text",
    "chat.request.hints",
    "chat.request.labels",
    "chat.request.include_obfuscation",
)
@pytest.mark.parametrize(
    "fields",
    [
        *HARMLESS,
        {"response_format": {"type": "text"}},
        {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "store": True},
        {"metadata": {"a": "b"}, "service_tier": "auto", "verbosity": "low"},
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
        {"prompt_cache_options": {"mode": "explicit"}, "prompt_cache_retention": "24h"},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"n": 16, "logprobs": True, "top_logprobs": 20, "presence_penalty": -2},
        {"logprobs": False, "top_logprobs": 0, "logit_bias": {}},
        {"logit_bias": {"0": -100, "7": 100}, "min_p": 1, "repetition_penalty": 1.1},
        {"min_tokens": 8, "max_tokens": 8, "ignore_eos": True, "skip_special_tokens": False},
        {"chat_template_kwargs": {"enable_thinking": False, "date_string": None}},
        {"reasoning_effort": "none", "priority": -5, "cache_salt": "s"},
        {"add_generation_prompt": False},
        {"seed": -(2**63)},
        {"stop": []},
        {"tools": [tool(parameters={"type": "object"}, strict=True, description="d")]},
    ],
)
def test_what_changes_nothing_is_accepted(fields: dict[str, object]) -> None:
    understand(body_of(**fields))


@requirement("chat.request.null")
def test_null_is_as_good_as_absent_everywhere() -> None:
    optional = set(ChatCompletionRequest.__struct_fields__) - {"messages", "model"}
    request = parse(body_of(**dict.fromkeys(optional)))
    assert request == parse(body_of())


def test_the_list_of_what_is_refused_names_fields() -> None:
    assert set(REFUSED) <= set(ChatCompletionRequest.__struct_fields__)


def rendered(*messages: dict[str, object]) -> list[dict[str, object]]:
    return parse(body_of(messages=messages)).template_messages()


@requirement("chat.request.messages.roles", "chat.request.messages.parts")
def test_messages_of_every_role_reach_the_template() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    found = rendered(
        {"role": "system", "content": "S"},
        {
            "role": "developer",
            "content": [{"type": "text", "text": "D"}, {"type": "text", "text": "E"}],
        },
        {"role": "user", "content": "U", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "5"}]},
        {"role": "function", "name": "f", "content": "6"},
        {"role": "assistant", "content": "A", "reasoning": "R"},
    )
    assert found == [
        {"role": "system", "content": "S"},
        {"role": "developer", "content": "D\nE"},
        {"role": "user", "content": "U", "name": "ann"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
            ],
        },
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
        {"role": "tool", "content": "6", "name": "f"},
        {"role": "assistant", "content": "A", "reasoning_content": "R"},
    ]


@requirement("chat.request.messages.history")
def test_what_the_sdks_helpers_add_to_an_answer_is_accepted_in_history() -> None:
    function = {"name": "f", "arguments": "{}", "parsed_arguments": {"a": 1}}
    (found,) = rendered(
        {
            "role": "assistant",
            "content": None,
            "parsed": {"a": 1},
            "tool_calls": [{"id": "c", "type": None, "function": function}],
        }
    )
    assert found["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}
    ]


def test_an_answer_that_never_got_beyond_its_reasoning_is_accepted_as_history() -> None:
    (found,) = rendered({"role": "assistant", "content": None, "reasoning_content": "Hm"})
    assert (found["content"], found["reasoning_content"]) == ("", "Hm")


def test_our_own_answer_is_accepted_as_history() -> None:
    answer = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "reasoning_content": None,
        "tool_calls": [
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "index": 0,
            }
        ],
    }
    (found,) = rendered(answer)
    assert found["tool_calls"]


@pytest.mark.parametrize("arguments", ["", "{", "[1]", '"x"', "5"])
def test_arguments_that_are_no_object_stay_text(arguments: str) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    (found,) = rendered({"role": "assistant", "tool_calls": [call]})
    assert found["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    ]


def test_tools_are_rendered_in_one_order_whatever_the_client_wrote() -> None:
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}
    sent = {"function": {"parameters": schema, "name": "f", "description": "d"}, "type": "function"}
    request = parse(body_of(tools=[sent]))
    assert json.dumps(request.template_tools()) == json.dumps(
        [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}]
    )


def test_the_model_sees_the_tools_that_it_may_call() -> None:
    tools = [tool(name=name) for name in ("f", "g", "h")]

    def seen(choice: object) -> list[Any]:
        found: list[Any] = parse(body_of(tools=tools, tool_choice=choice)).template_tools()
        return [each["function"]["name"] for each in found]

    assert seen(allowed("auto", "h", "f")) == ["f", "h"]
    assert seen(allowed("required", "g")) == ["g"]
    assert seen(TOOL) == ["f", "g", "h"]
    assert seen("none") == []
