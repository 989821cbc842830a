"""Completions and tokens are valid by the document if and only if their routes take them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from service.errors import ApiError
from service.request_limits import RequestLimits
from service.schemas.completions_checks import parse_completion
from service.schemas.completions_structure import structure_of
from service.schemas.tokenize import parse_detokenize, parse_tokenize
from tests.service.api_document import document, validator
from tests.service.chat_client import USER, served_model

NARROW = RequestLimits(max_choices=2, max_stop_strings=1, max_top_logprobs=1, max_messages=1)


def is_taken(parse: Any, *args: object) -> bool:
    try:
        parse(*args)
    except ApiError:
        return False
    return True


def understand_completion(body: bytes, limits: RequestLimits) -> None:
    structure_of(parse_completion(body, limits), served_model(), limits.max_tool_schema_bytes)


COMPLETIONS: list[dict[str, object]] = [
    {},
    *(
        {"prompt": prompt}
        for prompt in (
            [],
            None,
            True,
            ["Hi"] * 64,
            ["Hi"] * 65,
            [5] * 65,
            [[5]] * 64,
            [[5]] * 65,
            [[]],
            [1, "Hi"],
            [[1], "Hi"],
            [1, -1],
            [1.5],
        )
    ),
    {"best_of": 1},
    {"best_of": 0},
    {"suffix": "end"},
    {"suffix": ""},
    {"suffix": None},
    {"truncate_prompt_tokens": 5},
    {"truncate_prompt_tokens": None},
    {"logprobs": 0},
    {"logprobs": 2},
    {"logprobs": 6},
    {"logprobs": True},
    {"max_tokens": 0},
    {"max_tokens": -1},
    {"n": 3},
    {"n": 17},
    {"stop": ["a", "b"]},
    {"stop": "x" * 257},
    {"stream_options": {"include_usage": True}},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"logit_bias": {"+7": 1}},
    {"structured_outputs": {"regex": "a", "choice": ["a"]}},
    {"structured_outputs": {"regex": "a", "choice": None}},
    {"guided_regex": "a", "guided_choice": ["a"]},
    {"guided_regex": "a", "guided_json": None},
    {"messages": []},
]


@pytest.mark.parametrize("limits", [RequestLimits(), NARROW])
@pytest.mark.parametrize("fields", COMPLETIONS)
def test_a_completion_is_valid_if_and_only_if_the_route_takes_it(
    fields: dict[str, object], limits: RequestLimits
) -> None:
    body = {"model": "m", "prompt": "Hi"} | fields
    is_valid = validator("CompletionRequest", document(limits)).is_valid(body)
    assert is_valid == is_taken(understand_completion, msgspec.json.encode(body), limits)


TOKENIZE: list[dict[str, object]] = [
    {},
    {"prompt": ""},
    {"prompt": None},
    {"prompt": 5},
    {"prompt": "Hi", "messages": USER},
    {"prompt": "Hi", "add_special_tokens": True},
    {"prompt": "Hi", "add_generation_prompt": False},
    {"messages": USER},
    {"messages": []},
    {"messages": USER, "add_special_tokens": True},
    {"messages": USER, "add_special_tokens": False},
    {"messages": USER * 2},
    {"messages": USER, "continue_final_message": False, "add_generation_prompt": True},
    {
        "messages": [*USER, {"role": "assistant", "content": "Yes, "}],
        "continue_final_message": True,
        "add_generation_prompt": True,
    },
    {"messages": USER, "chat_template_kwargs": {"enable_thinking": False}},
    {"messages": USER, "chat_template_kwargs": {"tokenize": True}},
    {"messages": USER, "tools": []},
    {"model": "", "prompt": "Hi"},
    {"prompt": "Hi", "x": 1},
]


@pytest.mark.parametrize("limits", [RequestLimits(), NARROW])
@pytest.mark.parametrize("body", TOKENIZE)
def test_a_prompt_is_valid_if_and_only_if_the_route_takes_it(
    body: dict[str, object], limits: RequestLimits
) -> None:
    def understand(encoded: bytes) -> None:
        parse_tokenize(encoded).source("m", limits)

    is_valid = validator("TokenizeRequest", document(limits)).is_valid(body)
    assert is_valid == is_taken(understand, msgspec.json.encode(body))


@pytest.mark.parametrize("body", [{}, {"tokens": []}, {"tokens": [5]}, {"tokens": [-1]}, {"x": 1}])
def test_tokens_are_valid_if_and_only_if_the_route_takes_them(body: dict[str, object]) -> None:
    is_valid = validator("DetokenizeRequest").is_valid(body)
    assert is_valid == is_taken(parse_detokenize, msgspec.json.encode(body))
