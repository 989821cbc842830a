"""A chat is valid by the document if and only if the route takes it, as far as schemas can say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ApiError
from service.lenient import parse_leniently
from service.openapi.rules import REFUSED_STRUCTS
from service.request_limits import RequestLimits
from service.schemas.chat_checks import REFUSED, parse_chat
from service.schemas.chat_prompt import chat_prompt
from service.schemas.chat_structure import structure_of
from service.schemas.template_kwargs import ALLOWED
from tests.service.api_document import document, validator
from tests.service.chat_client import USER, body_of, served_model
from tests.service.test_chat_schema import BAD, TOOL, allowed, tool, user

NARROW = RequestLimits(
    max_messages=2,
    max_choices=2,
    max_stop_strings=2,
    max_stop_chars=3,
    max_logit_bias=2,
    max_top_logprobs=2,
    max_metadata=2,
    max_tools=2,
)
CLIENTS = Path(__file__).parents[1] / "data" / "clients"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(CLIENTS.glob("*.json"))}


def is_valid(body: bytes, limits: RequestLimits | None = None) -> bool:
    found = validator("ChatCompletionRequest", document(limits))
    return found.is_valid(json.loads(body))


def is_taken(body: bytes, limits: RequestLimits | None = None) -> bool:
    """Whether the route would hand it to the engine, but for what the engine says."""
    limits = limits or RequestLimits()
    try:
        chat = parse_chat(body, limits)
        chat_prompt(chat)
        structure_of(chat, served_model(), limits.max_tool_schema_bytes)
    except ApiError:
        return False
    return True


# What JSON Schema cannot say: the document says it in words.
IN_WORDS: list[dict[str, object]] = [
    {"max_tokens": 5, "max_completion_tokens": 6},
    {"min_tokens": 9, "max_tokens": 8},
    {"tools": [TOOL, tool(parameters={"x": "y" * 65536})]},
    {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    {"tools": [TOOL], "tool_choice": allowed("auto", "f", "g")},
    {"tools": [TOOL, tool(name="g"), TOOL]},
    {"continue_final_message": True},
    {"guided_regex": "a", "guided_choice": ["a"]},
    {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
    {"response_format": {"type": "json_object"}, "tools": [TOOL], "tool_choice": "required"},
    {"guided_regex": "a", "ignore_eos": True},
]


@pytest.mark.parametrize("fields", IN_WORDS)
def test_what_stands_in_words_only_is_refused_though_it_is_valid(fields: dict[str, object]) -> None:
    assert is_valid(body_of(**fields))
    assert not is_taken(body_of(**fields))


# In a pattern, which is JavaScript's, `$` is the end; Python's lets a line's end follow.
SAID_ELSEWHERE = [body_of(**fields) for fields in (*IN_WORDS, {"tools": [tool(name="a\n")]})]
REFUSALS = [body for status, _, _, body in BAD if status in (413, 422)]


@pytest.mark.parametrize("body", [body for body in REFUSALS if body not in SAID_ELSEWHERE])
def test_what_the_route_refuses_is_not_valid(body: bytes) -> None:
    assert not is_taken(body)
    assert not is_valid(body)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_clients_send_is_valid_if_the_route_takes_it(case: dict[str, Any]) -> None:
    body = msgspec.json.encode(case["body"])
    assert is_valid(body) == is_taken(body)


NAMES = {str(n): "x" for n in range(3)}
BIASES = {str(n): 1 for n in range(3)}
NAMED = [tool(name=name) for name in "fgh"]


@pytest.mark.parametrize(
    ("at_limit", "above"),
    [
        ({"messages": USER * 2}, {"messages": USER * 3}),
        ({"n": 2}, {"n": 3}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b", "c"]}),
        ({"stop": "abc"}, {"stop": "abcd"}),
        ({"stop": ["abc"]}, {"stop": ["abcd"]}),
        ({"logit_bias": {"0": 1, "1": 1}}, {"logit_bias": BIASES}),
        ({"metadata": {"0": "x", "1": "x"}}, {"metadata": NAMES}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 3}),
        ({"tools": NAMED[:2]}, {"tools": NAMED}),
    ],
)
def test_the_limits_of_the_settings_are_those_of_the_document(
    at_limit: dict[str, object], above: dict[str, object]
) -> None:
    for fields, is_good in ((at_limit, True), (above, False)):
        body = body_of(**fields)
        assert (is_valid(body, NARROW), is_taken(body, NARROW)) == (is_good, is_good)
    assert is_valid(body_of(**above))


ASSISTANT = {"role": "assistant"}
CALL = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
MESSAGES: list[dict[str, object]] = [
    *user("Hi"),
    *user([{"type": "text", "text": "Hi"}, {"type": "refusal", "refusal": "No"}]),
    *user([{"type": "image_url", "image_url": {"url": "x"}}]),
    *user("Hi", name="n" * 257),
    {"role": "system", "content": None},
    {"role": "tool", "content": "5", "tool_call_id": "c"},
    {"role": "tool", "content": "5"},
    {"role": "function", "name": "f"},
    {"role": "robot", "content": "Hi"},
    ASSISTANT,
    ASSISTANT | {"content": ""},
    ASSISTANT | {"content": None, "refusal": "No"},
    ASSISTANT | {"tool_calls": []},
    ASSISTANT | {"tool_calls": [CALL]},
    ASSISTANT | {"tool_calls": [CALL | {"type": "custom"}]},
    ASSISTANT | {"function_call": CALL["function"]},
    ASSISTANT | {"reasoning_content": ""},
    ASSISTANT | {"reasoning_content": "Hm."},
    ASSISTANT | {"reasoning": ""},
    ASSISTANT | {"content": "Hi", "audio": {"id": "x"}},
    ASSISTANT | {"content": "Hi", "audio": None, "parsed": {"a": [1]}, "annotations": [{}]},
]


# Each field by itself, and with others that it may not go with; what needs words is left out.
VALUES: dict[str, list[object]] = {
    "model": ["kvorum-mini", "", 5, None, "x" * 257],
    "max_tokens": [None, 1, 0, "1", 1.5, True, 2**31],
    "temperature": [None, 0, 2, 2.1, -1, "1", True],
    "top_k": [-1, 0, -2, 1.5],
    "seed": [-(2**63), 2**63 - 1, 2**63],
    "stop": [None, "x", "", [], ["x"], [""], ["x"] * 17, "x" * 257, 5, [5]],
    "stop_token_ids": [[], [0], [-1], [1] * 65, "1"],
    "stream": [None, False, True, "yes"],
    "stream_options": [None, {}, {"include_usage": True}, {"x": 1}],
    "n": [1, 16, 17, 0, True],
    "min_tokens": [0, -1],
    "logit_bias": [{}, {"5": 1}, {"5": 101}, {"a": 1}, {"+5": 1}, {"٣": 1}, {"5" * 11: 1}, []],
    "logprobs": [None, False, True, 1],
    "top_logprobs": [None, 0, 1, 20, 21, -1],
    "reasoning_effort": [None, "none", "max", "great"],
    "chat_template_kwargs": [
        None,
        {},
        *({name: kind(1)} for name, kind in ALLOWED.items()),
        {"enable_thinking": 1},
        {"thinking_budget": 2**31},
        {"date_string": "x" * 257},
        {"tokenize": None},
        {"tokenize": True},
    ],
    "continue_final_message": [None, False],
    "add_generation_prompt": [None, False, True],
    "response_format": [
        None,
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "n"}},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": []}},
        {"type": "json_schema", "json_schema": {"name": "a b"}},
        {"type": "json_schema"},
        {"type": "xml"},
    ],
    "tools": [
        None,
        [],
        [TOOL],
        [tool(parameters=None)],
        [tool(parameters=[])],
        [{"type": "custom"}],
    ],
    "tool_choice": [
        None,
        "none",
        "auto",
        "required",
        "maybe",
        {"function": {"name": "f"}},
        {"type": "function", "function": {"name": "f", "x": 1}},
        {"type": "custom", "custom": {"name": "f"}},
        {"type": "allowed_tools", "function": {"name": "f"}},
        {"allowed_tools": {"mode": "auto", "tools": [TOOL]}},
        {"type": "x", "function": {"name": "f"}},
        allowed("auto", "f"),
        allowed("auto"),
    ],
    "metadata": [None, {"a": "b"}, {"x" * 65: ""}, {"a": 1}],
    "service_tier": ["auto", "gold"],
    "prediction": [None, {"content": "x"}, {"content": [{"type": "text"}]}, {"type": "content"}],
    "modalities": [None, ["text"], ["audio"], [], ["text", "audio"]],
    "functions": [None, []],
    "function_call": [None, "auto", {"name": "f"}],
    "temprature": [1, None],
}
FORCING = ("required", {"function": {"name": "f"}})


def goes_without_words(body: dict[str, Any]) -> bool:
    """A call that is forced is a form: beside another it is refused, which the document says in
    words."""
    form = body.get("response_format") or {}
    is_form = form.get("type") in ("json_object", "json_schema")
    return not (is_form and body.get("tool_choice") in FORCING)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.sampled_from(MESSAGES), min_size=0, max_size=2),
    st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({n: st.sampled_from(VALUES[n]) for n in names})
    ),
)
def test_any_chat_is_valid_if_and_only_if_the_route_takes_it(
    messages: list[dict[str, object]], fields: dict[str, Any]
) -> None:
    body = {"model": "kvorum-mini", "messages": messages} | fields
    if goes_without_words(body):
        encoded = msgspec.json.encode(body)
        assert is_valid(encoded) == is_taken(encoded)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
def test_each_value_is_valid_if_and_only_if_the_route_takes_it(name: str, value: object) -> None:
    body = msgspec.json.encode({"model": "kvorum-mini", "messages": USER, name: value})
    assert is_valid(body) == is_taken(body)
    body = msgspec.json.encode(json.loads(body) | {"tools": [TOOL], name: value})
    assert is_valid(body) == is_taken(body)


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_valid_if_and_only_if_the_route_takes_it(message: object) -> None:
    assert is_valid(body_of(messages=[message])) == is_taken(body_of(messages=[message]))


def test_a_lenient_server_takes_unknown_fields_and_its_document_says_so() -> None:
    lenient = validator("ChatCompletionRequest", document(is_lenient=True))
    for fields in (
        {"temprature": 1},
        {"messages": user("Hi", colour=1)},
        {"tools": [tool(x=1)]},
        {"stream": True, "stream_options": {"x": 1}},
        {"tools": [TOOL], "tool_choice": TOOL | {"x": 1}},
    ):
        body = body_of(**fields)
        assert not is_valid(body)
        assert lenient.is_valid(json.loads(body))
        assert parse_leniently(body, lambda each: parse_chat(each, RequestLimits()))[1]
    assert not lenient.is_valid(json.loads(body_of(chat_template_kwargs={"x": 1})))


def test_what_is_refused_is_told_and_what_nobody_may_send_is_not() -> None:
    found = document()["components"]["schemas"]
    properties = found["ChatCompletionRequest"]["properties"]
    for name, harmless in REFUSED.items():
        allowed = properties[name]
        assert allowed["enum"] == [*harmless, None] if harmless else allowed["type"] == "null"
    assert not {struct.__name__ for struct in REFUSED_STRUCTS} & set(found)
