"""The whole application over ASGI: routes, the envelope, models, ids, the access log."""

from __future__ import annotations

import json
import logging
import re

import pytest
from starlette.routing import Route

from tests.fakes import FakeEngine
from tests.requirements import requirement
from tests.service.chat_client import ids_of
from tests.service.running import CHAT, call, chat_body, error_of, routes_of, running

KEY = "sk-canary-0123456789"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


async def test_a_chat_goes_through_every_layer() -> None:
    async with running() as run:
        response = await run.client.post(CHAT, json=chat_body())
        assert response.status_code == 200, response.text
        assert response.json()["object"] == "chat.completion"
        assert len(run.engine.submits) == 1


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OBJECT = '{"name": "f", "arguments": {}}'
HERMES = f"<tool_call>{OBJECT}</tool_call>"


@pytest.mark.parametrize(
    ("flags", "text", "content", "num_calls"),
    [
        ([], HERMES, None, 1),
        (["--tool-call-parser", "hermes"], HERMES, None, 1),
        (["--tool-call-parser", "none"], HERMES, HERMES, 0),
        (["--tool-call-parser", "mistral"], f"[TOOL_CALLS][{OBJECT}]", None, 1),
        (["--tool-call-parser", "json"], OBJECT, None, 1),
    ],
)
async def test_the_operator_can_name_the_form_of_calls(
    flags: list[str], text: str, content: str | None, num_calls: int
) -> None:
    async with running(*flags, engine=FakeEngine(ids_of(text))) as run:
        response = await run.client.post(CHAT, json=chat_body(tools=[TOOL], max_tokens=200))
    message = response.json()["choices"][0]["message"]
    assert message["content"] == content
    assert len(message.get("tool_calls", [])) == num_calls


@pytest.mark.parametrize(
    ("flags", "reasoning", "content"),
    [
        ([], None, "<think>Hm.</think>Five."),  # the embedded model does not think
        (["--reasoning-parser", "qwen3"], "Hm.", "Five."),
        (["--reasoning-parser", "mistral"], None, "<think>Hm.</think>Five."),
    ],
)
async def test_the_operator_can_name_the_form_of_reasoning(
    flags: list[str], reasoning: str | None, content: str
) -> None:
    engine = FakeEngine(ids_of("<think>Hm.</think>Five."))
    async with running(*flags, engine=engine) as run:
        response = await run.client.post(CHAT, json=chat_body(max_tokens=200))
    message = response.json()["choices"][0]["message"]
    assert (message.get("reasoning"), message["content"]) == (reasoning, content)


@requirement("errors.404.path")
async def test_an_unknown_path_is_404_in_the_envelope() -> None:
    async with running() as run:
        for path in ("/", "/v1", "/v1/nothing", "/v1/chat/completions/", "/health/"):
            response = await run.client.get(path)
            assert response.status_code == 404
            assert error_of(response)["code"] == "not_found"


@requirement("errors.405")
async def test_every_route_answers_a_wrong_method_with_405_and_what_it_allows() -> None:
    async with running() as run:
        for path, methods in routes_of(run):
            response = await run.client.request("DELETE", path)
            assert response.status_code == 405
            assert error_of(response)["code"] == "method_not_allowed"
            assert response.headers["allow"] == ", ".join(sorted(methods))


@requirement("errors.500", "headers.x_request_id")
async def test_a_mistake_of_ours_is_500_without_internals_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as run:
        for route in run.app.routes:
            assert isinstance(route, Route)

            async def broken(*_: object) -> None:
                raise ZeroDivisionError("secret internals")

            monkeypatch.setattr(route, "app", broken)
        for path, methods in routes_of(run):
            method = "POST" if "POST" in methods else "GET"
            response = await run.client.request(method, path)
            assert response.status_code == 500
            error = error_of(response)
            assert error["code"] == "internal_error"
            assert "internals" not in response.text
            assert response.headers["x-should-retry"] == "false"
            assert response.headers["x-request-id"]
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == len(routes_of(run))


async def test_a_long_path_is_not_echoed_at_length() -> None:
    async with running() as run:
        response = await run.client.get("/" + "x" * 5000)
        assert len(response.content) < 500


@requirement("models.list")
async def test_models_are_listed_as_openai_does() -> None:
    async with running() as run:
        body = (await run.client.get("/v1/models")).json()
        assert body["object"] == "list"
        [model] = body["data"]
        assert model["id"] == "kvorum-mini"
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["owned_by"] == "kvorum"
        assert model["max_model_len"] >= 2048
        assert (await run.client.get("/v1/models/kvorum-mini")).json() == model


@requirement("models.retrieve")
async def test_a_model_whose_id_has_slashes_is_found_raw_and_escaped() -> None:
    async with running(name="org/some-model") as run:
        for path in ("/v1/models/org/some-model", "/v1/models/org%2Fsome-model"):
            response = await run.client.get(path)
            assert response.status_code == 200
            assert response.json()["id"] == "org/some-model"
        assert (await run.client.post(CHAT, json=chat_body(model="org/some-model"))).is_success


@requirement("errors.404.model", "models.not_found")
@pytest.mark.parametrize("name", ["gpt-4", "", "kvorum-mini/", "../kvorum-mini", "x" * 3000])
async def test_an_unknown_model_is_404(name: str) -> None:
    async with running() as run:
        status, _, body = await call(run.app, "GET", f"/v1/models/{name}")
        assert status == 404
        assert json.loads(body)["error"]["code"] == "model_not_found"
        assert len(body) < 500


async def test_the_context_can_be_made_shorter_and_models_say_so() -> None:
    async with running("--max-model-len", "100") as run:
        [model] = (await run.client.get("/v1/models")).json()["data"]
        assert model["max_model_len"] == 100


@requirement("headers.x_request_id", "headers.openai_processing_ms")
async def test_every_answer_carries_request_id_trace_id_and_time() -> None:
    async with running("--api-key", KEY) as run:
        for path in ("/health", "/v1/models", "/nothing", "/metrics"):
            headers = (await run.client.get(path)).headers
            assert re.fullmatch(r"req_[0-9a-f]{24}", headers["x-request-id"])
            assert re.fullmatch(r"[0-9a-f]{32}", headers["x-trace-id"])
            assert headers["openai-processing-ms"].isdigit()


async def test_the_callers_trace_is_joined_and_handed_to_the_engine() -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
    async with running() as run:
        response = await run.client.post(CHAT, json=chat_body(), headers=headers)
        assert response.headers["x-trace-id"] == TRACE_ID
        [submit] = run.engine.submits
        assert submit.traceparent.split("-")[1] == TRACE_ID
        assert submit.traceparent.split("-")[2] != SPAN_ID


@pytest.mark.parametrize("value", ["", "00-xyz", f"00-{'0' * 32}-{SPAN_ID}-01", "x" * 9000])
async def test_a_broken_traceparent_starts_a_trace_of_our_own(value: str) -> None:
    async with running() as run:
        response = await run.client.get("/health", headers={"traceparent": value})
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-trace-id"])
        assert response.headers["x-trace-id"] != "0" * 32


@requirement("headers.x_request_id_echo")
@pytest.mark.parametrize("value", ["abc-123", "a" * 128, "req:1/2+3=4"])
async def test_a_sane_request_id_of_the_caller_is_echoed(value: str) -> None:
    async with running() as run:
        response = await run.client.get("/health", headers={"x-request-id": value})
        assert response.headers["x-request-id"] == value


@requirement("headers.x_request_id_echo")
@pytest.mark.parametrize("value", ["", "a" * 129, "a b", "a\tb", "\x7f", "ü", "\x00", "a\r\nb: c"])
async def test_any_other_request_id_is_replaced_by_our_own(value: str) -> None:
    async with running() as run:
        _, headers, _ = await call(run.app, "GET", "/health", [("x-request-id", value)])
        assert re.fullmatch(rb"req_[0-9a-f]{24}", dict(headers)[b"x-request-id"])


async def test_two_callers_with_the_same_request_id_are_two_requests_for_the_engine() -> None:
    async with running() as run:
        for _ in range(2):
            headers = {"x-request-id": "same"}
            assert (await run.client.post(CHAT, json=chat_body(), headers=headers)).is_success
        first, second = (submit.request_id for submit in run.engine.submits)
        assert first != second
        assert "same" not in (first, second)


async def test_one_line_for_each_request_without_content_or_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"authorization": f"Bearer {KEY}", "x-request-id": "mine"}
    body = chat_body(messages=[{"role": "user", "content": "prompt-canary"}])
    async with running("--api-key", KEY) as run:
        await run.client.post(f"{CHAT}?secret=canary", json=body, headers=headers)
        await run.client.get("/health")
    records = [record for record in caplog.records if record.name == "kvorum.access"]
    assert [record.levelname for record in records] == ["INFO", "DEBUG"]
    fields = vars(records[0])
    assert fields["method"] == "POST"
    assert fields["route"] == CHAT
    assert fields["status_code"] == 200
    assert fields["request_id"] == "mine"
    assert fields["model"] == "kvorum-mini"
    assert fields["finish_reason"] == "stop"
    assert fields["duration_s"] >= 0
    ours = [record for record in caplog.records if not record.name.startswith("httpx")]
    assert "canary" not in "".join(str(vars(record)) for record in ours)
