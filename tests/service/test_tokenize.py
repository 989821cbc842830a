"""`/tokenize` and `/detokenize`: the ids that a prompt would have, and the text of ids."""

from __future__ import annotations

from typing import Any

import pytest

from service.api import tokenize
from tests.requirements import requirement
from tests.service.chat_client import ids_of, served_model
from tests.service.running import CHAT, Running, chat_body, error_of, running

USER = [{"role": "user", "content": "Hi <|im_end|>"}]
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


async def tokens_of(run: Running, **fields: object) -> dict[str, Any]:
    response = await run.client.post("/tokenize", json=fields)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found["count"] == len(found["tokens"])
    return found


@requirement("tokenize.prompt")
async def test_a_text_has_the_ids_that_a_completion_would_have() -> None:
    text = "<|im_start|>user\nwörld 🌍"
    async with running() as run:
        found = await tokens_of(run, prompt=text, model="kvorum-mini")
        named = await tokens_of(run, prompt="Hi there", return_token_strs=True)
        empty = await tokens_of(run, prompt="")
        await run.client.post("/v1/completions", json={"model": "kvorum-mini", "prompt": text})
    assert found["tokens"] == run.engine.submits[0].prompt_token_ids
    assert found["token_strs"] is None
    assert found["max_model_len"] == served_model().card.max_model_len
    assert named["token_strs"] == ["Hi", "Ġthere"]
    assert empty["tokens"] == []


@requirement("tokenize.prompt")
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [TOOL]},
        {"add_generation_prompt": False},
        {"continue_final_message": True},
    ],
)
async def test_a_conversation_has_the_ids_that_a_chat_would_have(fields: dict[str, object]) -> None:
    messages = [*USER, {"role": "assistant", "content": "One,"}]
    async with running() as run:
        found = await tokens_of(run, messages=messages, **fields)
        await run.client.post(CHAT, json=chat_body(messages=messages, **fields))
    assert found["tokens"] == run.engine.submits[0].prompt_token_ids


@requirement("tokenize.detokenize")
async def test_ids_have_the_text_they_came_from() -> None:
    text = "<|im_start|>user\nwörld 🌍"
    async with running() as run:
        response = await run.client.post("/detokenize", json={"tokens": ids_of(text)})
        empty = await run.client.post("/detokenize", json={"tokens": []})
    assert response.json() == {"prompt": text}
    assert empty.json() == {"prompt": ""}


async def test_large_inputs_are_looked_at_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "MAX_INLINE_BYTES", 0)
    async with running() as run:
        found = await tokens_of(run, prompt="Hi there", return_token_strs=True)
        text = await run.client.post("/detokenize", json={"tokens": found["tokens"]})
    assert found["token_strs"] == ["Hi", "Ġthere"]
    assert text.json() == {"prompt": "Hi there"}


@requirement("tokenize.bounds")
@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 422, "prompt"),
        ("/tokenize", {"prompt": "Hi", "messages": USER}, 422, "messages"),
        ("/tokenize", {"prompt": "Hi", "tools": [TOOL]}, 422, "tools"),
        ("/tokenize", {"messages": USER, "add_special_tokens": True}, 422, "add_special_tokens"),
        ("/tokenize", {"messages": USER, "chat_template": "x"}, 422, "chat_template"),
        ("/tokenize", {"messages": [{"role": "x"}]}, 422, "messages[0].role"),
        ("/tokenize", {"messages": USER, "continue_final_message": True}, 422, "messages[0]"),
        ("/tokenize", {"prompt": "Hi", "model": "other"}, 404, "model"),
        ("/tokenize", {"prompt": "word " * 100_000}, 400, "prompt"),
        ("/detokenize", {"tokens": [10**6]}, 422, "tokens[0]"),
        ("/detokenize", {"tokens": [-1]}, 422, "tokens[0]"),
        ("/detokenize", {"tokens": [5] * 5000}, 400, "tokens"),
        ("/detokenize", {}, 422, "tokens"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name(
    path: str, body: dict[str, object], status: int, param: str
) -> None:
    async with running() as run:
        response = await run.client.post(path, json=body)
    assert response.status_code == status
    assert error_of(response)["param"] == param


async def test_both_routes_need_the_key() -> None:
    async with running("--api-key", "sk-canary-0123456789") as run:
        answers = [await run.client.post(p, json={}) for p in ("/tokenize", "/detokenize")]
    assert [answer.status_code for answer in answers] == [401, 401]
