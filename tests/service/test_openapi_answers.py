"""What the routes answer is what the document says: statuses, media types, headers and bodies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio
import jsonschema
import pytest

from engine.errors import OutOfMemory
from engine.protocol import LoadFailed
from service.openapi.operations import OPERATIONS
from tests.fakes import FakeEngine
from tests.service.api_document import check, document, operation_of
from tests.service.chat_client import ids_of
from tests.service.completions_client import says
from tests.service.running import CHAT, chat_body, running

if TYPE_CHECKING:
    import httpx

KEY = "sk-canary-0123456789"
CALL = '<tool_call>{"name": "f", "arguments": {"a": [1, "x"]}}</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
COMPLETIONS = "/v1/completions"


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "flags", "fields"),
    [
        ("Five.", (), {}),
        ("Five.", (), {"max_tokens": 1}),
        ("Five.", (), {"metadata": {"a": "b"}, "service_tier": "flex", "n": 2}),
        (CALL, (), {"tools": TOOLS, "max_tokens": 200}),
        ("<think>Hm.</think>Five.", ("--reasoning-parser", "qwen3"), {"max_tokens": 200}),
    ],
)
async def test_answers_to_chats_are_as_they_are_told(
    text: str, flags: tuple[str, ...], fields: dict[str, Any], stream: bool
) -> None:
    if stream:
        fields = fields | {"stream": True, "stream_options": {"include_usage": True}}
    async with running(*flags, engine=FakeEngine(ids_of(text))) as run:
        response = await run.client.post(
            CHAT, json=chat_body(**{"reasoning_effort": "low"} | fields)
        )
    assert response.status_code == 200, response.text
    assert "warning" in response.headers or flags
    check(response)


@pytest.mark.parametrize("stream", [False, True])
async def test_scores_are_as_they_are_told(stream: bool) -> None:
    async with running(engine=FakeEngine(says({"Hi": " there"}))) as run:
        body = {"model": "kvorum-mini", "prompt": "Hi", "stream": stream, "echo": True}
        check(await run.client.post(COMPLETIONS, json=body | {"logprobs": 2}))
        response = await run.client.post(COMPLETIONS, json=body | {"prompt": ["Hi", "Hi"], "n": 2})
        assert response.status_code == 200
        check(response)


async def test_a_stream_that_breaks_off_is_as_it_is_told() -> None:
    engine = FakeEngine(ids_of("Five and more"), hold_after=2)
    responses: list[httpx.Response] = []
    async with running(engine=engine) as run:

        async def ask() -> None:
            responses.append(await run.client.post(CHAT, json=chat_body(stream=True)))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await engine.submitted.wait()
                engine.die()
    [response] = responses
    check(response)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", CHAT, b"{", 400),
        ("POST", CHAT, b"[" * 1000, 400),
        ("POST", CHAT, b" " * 5000, 413),
        ("POST", CHAT, b"{}", 422),
        ("POST", COMPLETIONS, b'{"x":1}', 422),
        ("POST", "/tokenize", b"{}", 422),
        ("POST", "/detokenize", b'{"tokens":[1000000]}', 422),
        ("POST", "/detokenize", b'{"tokens":[], "model": "gpt-4"}', 404),
        ("GET", "/v1/models/gpt-4", b"", 404),
        ("POST", "/v1/models/gpt-4/load", b"", 404),
        ("POST", "/v1/models/kvorum-mini/unload", b'{"x":1}', 422),
    ],
)
async def test_refusals_are_as_they_are_told(
    method: str, path: str, body: bytes, status: int
) -> None:
    async with running("--max-body-bytes", "4096", "--api-key", KEY) as run:
        headers = {"authorization": f"Bearer {KEY}"}
        response = await run.client.request(method, path, content=body, headers=headers)
        assert response.status_code == status, response.text
        check(response)


async def test_another_content_type_is_refused_as_it_is_told() -> None:
    async with running() as run:
        for operation in OPERATIONS:
            if operation.request is not None:
                path = operation.path.replace("{model}", "kvorum-mini")
                response = await run.client.post(path, data={"a": "b"})
                assert response.status_code == 415
                check(response)


async def test_what_needs_no_body_is_answered_as_it_is_told() -> None:
    async with running() as run:
        for operation in OPERATIONS:
            if operation.method == "GET":
                path = operation.path.replace("{model}", "kvorum-mini")
                response = await run.client.get(path)
                assert response.status_code == 200
                check(response)
        headers = {"accept": "application/openmetrics-text"}
        check(await run.client.get("/metrics", headers=headers))
        for path in ("/openapi.json", "/docs"):
            etag = (await run.client.get(path)).headers["etag"]
            check(await run.client.get(path, headers={"if-none-match": etag}))


async def test_tokens_are_as_they_are_told() -> None:
    async with running() as run:
        body = {"prompt": "Hi", "return_token_strs": True}
        tokenized = await run.client.post("/tokenize", json=body)
        check(tokenized)
        tokens = tokenized.json()["tokens"]
        check(await run.client.post("/detokenize", json={"tokens": tokens}))


@pytest.mark.parametrize("stream", [False, True])
async def test_models_that_come_and_go_are_as_they_are_told(stream: bool) -> None:
    engine = FakeEngine()
    engine.load_faults["c"] = [LoadFailed("c", OutOfMemory.code, "There is no memory.")] * 9
    headers = {"authorization": f"Bearer {KEY}"}
    async with running(
        "--more-models", "b=kvorum-mini c=kvorum-mini", "--api-key", KEY, engine=engine
    ) as run:
        for path in ("b/load", "b/unload", "c/load", "c/load"):
            response = await run.client.post(
                f"/v1/models/{path}", json={"stream": stream}, headers=headers
            )
            check(response)
        check(await run.client.post(CHAT, json=chat_body(model="c"), headers=headers))
        check(await run.client.get("/v1/models", headers=headers))


async def test_without_the_key_each_closed_operation_says_401_as_it_is_told() -> None:
    found = document(needs_key=True)
    async with running("--api-key", KEY) as run:
        for operation in OPERATIONS:
            path = operation.path.replace("{model}", "kvorum-mini")
            response = await run.client.request(operation.method, path)
            if "401" in operation_of(found, operation.method, path)["responses"]:
                assert response.status_code == 401
            else:
                assert response.status_code == 200
            check(response, found)


@pytest.mark.parametrize("state", ["loading", "draining"])
async def test_a_server_that_is_not_ready_answers_as_it_is_told(state: str) -> None:
    async with running(engine=FakeEngine(ready=state != "loading")) as run:
        if state == "draining":
            run.lifecycle.begin_drain()
        bodies = {
            CHAT: chat_body(),
            COMPLETIONS: {"model": "kvorum-mini", "prompt": "Hi"},
            "/tokenize": {"prompt": "Hi"},
            "/detokenize": {"tokens": [5]},
        }
        statuses = set()
        with anyio.fail_after(20):
            for operation in OPERATIONS:
                if re.search("/(un)?load$", operation.path):
                    continue  # they would wait
                path = operation.path.replace("{model}", "kvorum-mini")
                body = bodies.get(path)
                response = await run.client.request(
                    operation.method, path, json=body, headers={"x-stainless-timeout": "0.05"}
                )
                statuses.add(response.status_code)
                check(response)
        assert {200, 503} <= statuses <= {200, 408, 503}


async def test_the_judge_of_these_tests_is_no_rubber_stamp() -> None:
    async with running() as run:
        response = await run.client.get("/v1/models/kvorum-mini")
        response.json = lambda: {"id": 5}  # type: ignore[method-assign]
        with pytest.raises(jsonschema.ValidationError):
            check(response)
        response.status_code = 418
        with pytest.raises(KeyError):
            check(response)
