"""What real clients send, recorded as cases in `tests/data/clients`, against a live server.

An answer must be one that the client can read, and hold what its request asked for. A case may
expect a refusal: a part of the API that is not built must be refused by name, not ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.requirements import requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.types.chat.chat_completion import ChoiceLogprobs

MODEL = "kvorum-mini"
FOLDER = Path(__file__).parents[1] / "data" / "clients"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
ANSWERED = {name: case for name, case in CASES.items() if "status" not in case.get("expect", {})}
REFUSED = {name: case for name, case in CASES.items() if name not in ANSWERED}
STREAMED = {name: case for name, case in ANSWERED.items() if case["body"].get("stream")}
WHOLE = {name: case for name, case in ANSWERED.items() if name not in STREAMED}


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=50) as client:
        yield client


MAX_TOKENS = 96


def send(http: httpx.Client, case: dict[str, Any]) -> httpx.Response:
    # A small model under a form does not end by itself, and most clients leave the end to it.
    bound = {} if "max_completion_tokens" in case["body"] else {"max_tokens": MAX_TOKENS}
    body = json.dumps(bound | case["body"] | {"model": MODEL})
    return http.post("/v1/chat/completions", content=body, headers=case["headers"])


def chunks_of(response: httpx.Response) -> list[ChatCompletionChunk]:
    """The chunks of a stream, which must be events and nothing else, with [DONE] at their end."""
    *events, end = response.text.split("\n\n")
    assert end == ""
    assert all(event.startswith("data: ") for event in events)
    *chunks, done = (event.removeprefix("data: ") for event in events)
    assert done == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(chunk) for chunk in chunks]


def check_text(body: dict[str, Any], text: str) -> None:
    stop = body.get("stop") or []
    assert not [each for each in ([stop] if isinstance(stop, str) else stop) if each in text]


def check_reason(case: dict[str, Any], reason: str | None) -> None:
    expected = case.get("expect", {}).get("finish_reason")
    allowed = {"stop", "length"} | ({"tool_calls"} if case["body"].get("tools") else set())
    assert reason in ({expected} if expected else allowed)


def check_scores(body: dict[str, Any], logprobs: ChoiceLogprobs | None) -> None:
    if not body.get("logprobs"):
        assert logprobs is None
        return
    assert logprobs is not None
    assert logprobs.content
    assert all(len(s.top_logprobs) >= body.get("top_logprobs", 0) for s in logprobs.content)


def num_bound(body: dict[str, Any]) -> float:
    """How many tokens all answers together may have."""
    each = body.get("max_completion_tokens") or body.get("max_tokens") or float("inf")
    return float(each * body.get("n", 1))


@pytest.mark.parametrize("case", WHOLE.values(), ids=WHOLE)
def test_a_recorded_request_gets_a_whole_answer_that_its_client_can_read(
    http: httpx.Client, case: dict[str, Any]
) -> None:
    body = case["body"]
    response = send(http, case)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = ChatCompletion.model_validate_json(response.content)
    assert [choice.index for choice in answer.choices] == list(range(body.get("n", 1)))
    for choice in answer.choices:
        check_reason(case, choice.finish_reason)
        check_text(body, choice.message.content or "")
        check_scores(body, choice.logprobs)
        for call in choice.message.tool_calls or []:
            assert call.type == "function"
            if choice.finish_reason == "tool_calls":  # else the context's end has cut it off
                json.loads(call.function.arguments)
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= num_bound(body)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@requirement("chat.stream.finish_reason")
@pytest.mark.parametrize("case", STREAMED.values(), ids=STREAMED)
def test_a_recorded_request_gets_a_stream_that_its_client_can_read(
    http: httpx.Client, case: dict[str, Any]
) -> None:
    body = case["body"]
    response = send(http, case)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = chunks_of(response)
    if body.get("stream_options", {}).get("include_usage"):
        *chunks, last = chunks
        assert last.choices == []
        assert last.usage is not None
        assert 0 < last.usage.completion_tokens <= num_bound(body)
    assert all(chunk.usage is None for chunk in chunks)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    for index in range(body.get("n", 1)):
        choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert choices[0].delta.role == "assistant"
        assert all(choice.finish_reason is None for choice in choices[:-1])
        check_reason(case, choices[-1].finish_reason)
        check_text(body, "".join(choice.delta.content or "" for choice in choices))
        scored = [choice for choice in choices if choice.logprobs and choice.logprobs.content]
        assert bool(scored) == bool(body.get("logprobs"))
        for choice in scored:
            check_scores(body, choice.logprobs)  # type: ignore[arg-type]


@requirement("errors.400.context")
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_recorded_request_for_what_is_not_there_is_refused_by_name(
    http: httpx.Client, case: dict[str, Any]
) -> None:
    expected = case["expect"]
    response = send(http, case)
    assert response.status_code == expected["status"], response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert {key: error[key] for key in ("param", "code") if key in expected} == {
        key: expected[key] for key in ("param", "code") if key in expected
    }


def test_every_case_says_whose_it_is_and_every_refusal_why() -> None:
    assert {name.split("_")[0] for name in CASES} >= {"openwebui", "langchain"}
    for case in CASES.values():
        assert set(case) - {"expect"} == {"client", "what", "headers", "body"}
        assert "authorization" not in case["headers"]
    assert all(case["expect"]["because"].endswith(".") for case in REFUSED.values())
