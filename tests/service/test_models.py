"""Models that come and go, seen from the routes."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from engine.errors import OutOfMemory
from engine.protocol import LoadFailed
from service.models import manager, residency
from service.settings import SettingsError
from tests.fakes import READY, FakeEngine
from tests.service.running import CHAT, Running, chat_body, error_of, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODEL_BYTES = READY.weight_bytes + READY.kv_cache_bytes
THREE = ("--more-models", "b=kvorum-mini c=kvorum-mini")
ROOM_FOR_TWO = ("--model-memory-gib", str(2.5 * MODEL_BYTES / 2**30))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def serving(*flags: str, engine: FakeEngine | None = None) -> AsyncIterator[Running]:
    with anyio.fail_after(20):
        async with running(*THREE, *flags, engine=engine or FakeEngine()) as run:
            yield run


async def chat(run: Running, model: str, **fields: object) -> httpx.Response:
    return await run.client.post(CHAT, json=chat_body(model=model, **fields))


async def states(run: Running) -> dict[str, str]:
    models = (await run.client.get("/v1/models")).json()["data"]
    return {model["id"]: model["state"] for model in models}


async def test_a_model_is_loaded_when_it_is_first_asked_for() -> None:
    async with serving() as run:
        assert await states(run) == {"kvorum-mini": "loaded", "b": "unloaded", "c": "unloaded"}
        answer = await chat(run, "b")
        assert answer.json()["model"] == "b"
        assert run.engine.submits[0].model == "b"
        assert await states(run) == {"kvorum-mini": "loaded", "b": "loaded", "c": "unloaded"}


async def test_many_who_ask_at_once_cause_one_load() -> None:
    async with serving() as run, anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(chat, run, "b")
    assert run.engine.loads == ["b"]
    assert len(run.engine.submits) == 8


async def test_a_model_that_nobody_knows_is_404_and_loads_nothing() -> None:
    async with serving() as run:
        assert (await chat(run, "d")).status_code == 404
        assert run.engine.loads == []


async def test_an_alias_is_the_model_itself(tmp_path: Any) -> None:
    config = tmp_path / "kvorum.toml"
    config.write_text('[[models]]\nmodel = "kvorum-mini"\nname = "b"\naliases = ["gpt-5", "x/y"]\n')
    async with running("--config", str(config)) as run:
        assert (await chat(run, "x/y")).json()["model"] == "b"
        assert (await run.client.get("/v1/models/gpt-5")).json()["id"] == "b"
        assert (await run.client.get("/v1/models/b")).json()["aliases"] == ["gpt-5", "x/y"]


async def test_two_models_of_one_name_are_an_error_at_the_start() -> None:
    with pytest.raises(SettingsError, match="two models are named b"):
        async with running("--more-models", "b=kvorum-mini b=kvorum-mini"):
            pass


async def test_an_idle_model_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "MIN_STAY_S", 0.0)
    async with serving(*ROOM_FOR_TWO) as run:
        await chat(run, "b")
        await chat(run, "kvorum-mini")
        await chat(run, "c")
        assert run.engine.unloads == ["b"]
        assert (await states(run))["c"] == "loaded"


async def test_a_busy_model_takes_nothing_new_then_goes_then_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residency, "MIN_STAY_S", 0.0)
    engine = FakeEngine(hold_after=1)
    async with serving(*ROOM_FOR_TWO, engine=engine) as run, anyio.create_task_group() as tasks:
        answers: dict[str, int] = {}

        async def ask(model: str, key: str) -> None:
            answers[key] = (await chat(run, model)).status_code

        tasks.start_soon(ask, "kvorum-mini", "first")
        tasks.start_soon(ask, "b", "second")
        while len(engine.submits) < 2:
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(ask, "c", "third")
        while "leaving" not in (await states(run)).values():
            await anyio.lowlevel.checkpoint()
        (leaving,) = [name for name, state in (await states(run)).items() if state == "leaving"]
        tasks.start_soon(ask, leaving, "fourth")
        await anyio.wait_all_tasks_blocked()
        assert len(engine.submits) == 2
        assert engine.unloads == []
        engine.resume()
    assert answers == dict.fromkeys(["first", "second", "third", "fourth"], 200)
    assert engine.unloads[0] == leaving


async def test_an_idle_model_goes_after_its_time_and_comes_back() -> None:
    async with serving("--model-timeout", "0.05") as run:
        assert (await chat(run, "b")).status_code == 200
        while set(run.engine.unloads) != {"kvorum-mini", "b"}:
            await run.lifecycle.client.wait_change()
        assert (await chat(run, "kvorum-mini")).status_code == 200


async def test_a_running_answer_keeps_its_model() -> None:
    engine = FakeEngine(hold_after=2)
    flags = ("--model-timeout", "0.02")
    async with serving(*flags, engine=engine) as run, anyio.create_task_group() as tasks:
        tasks.start_soon(chat, run, "b")
        await engine.submitted.wait()
        while "kvorum-mini" not in engine.unloads:
            await run.lifecycle.client.wait_change()
        assert (await states(run))["b"] == "loaded"
        engine.resume()


async def test_who_waits_too_long_for_a_load_hears_that_it_loads() -> None:
    engine = FakeEngine()
    engine.may_load = anyio.Event()
    async with serving(engine=engine) as run:
        headers = {"x-stainless-timeout": "0.1"}
        answer = await run.client.post(CHAT, json=chat_body(model="b"), headers=headers)
        assert answer.status_code == 503
        assert error_of(answer)["code"] == "model_loading"
        assert "retry-after" in answer.headers
        engine.may_load.set()
        assert (await chat(run, "b")).status_code == 200


async def test_a_model_that_cannot_be_loaded_says_why_and_hurts_no_other() -> None:
    engine = FakeEngine()
    engine.load_faults = {"b": [LoadFailed("b", "The weights are broken.", "startup_failed")]}
    async with serving(engine=engine) as run:
        for _ in range(2):
            answer = await chat(run, "b")
            assert answer.status_code == 503
            assert error_of(answer) | {"type": ""} == {
                "message": "The weights are broken.",
                "type": "",
                "param": "model",
                "code": "model_load_failed",
            }
            assert answer.headers["x-should-retry"] == "false"
        assert engine.loads == ["b"]
        assert (await chat(run, "kvorum-mini")).status_code == 200
        model = (await run.client.get("/v1/models/b")).json()
        assert (model["state"], model["error"]) == ("failed", "The weights are broken.")
        loaded = await run.client.post("/v1/models/b/load")  # whoever says so is heard at once
        assert loaded.json()["state"] == "loaded"
        assert (await chat(run, "b")).status_code == 200


async def test_a_failed_load_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "RETRY_LOAD_S", 0.0)
    engine = FakeEngine()
    engine.load_faults = {"b": [LoadFailed("b", "Not now.", "startup_failed")]}
    async with serving(engine=engine) as run:
        assert (await chat(run, "b")).status_code == 200
        assert engine.loads == ["b", "b"]


async def test_where_memory_is_short_one_goes_and_the_load_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residency, "MIN_STAY_S", 0.0)
    engine = FakeEngine()
    engine.load_faults = {"b": [LoadFailed("b", "Too little memory.", OutOfMemory.code)]}
    async with serving(engine=engine) as run:
        assert (await chat(run, "b")).status_code == 200
        assert engine.unloads == ["kvorum-mini"]
        assert engine.loads == ["b", "b"]


async def test_memory_that_will_never_be_enough_is_said() -> None:
    engine = FakeEngine()
    fault = LoadFailed("b", "Too little memory.", OutOfMemory.code)
    engine.load_faults = {"b": [fault, fault, fault]}
    async with serving(engine=engine) as run:
        await run.client.post("/v1/models/kvorum-mini/unload")
        answer = await chat(run, "b")
        assert error_of(answer)["message"] == "Too little memory."
        assert (await chat(run, "kvorum-mini")).status_code == 200


async def test_load_and_unload_by_hand_and_their_progress() -> None:
    async with serving() as run:
        loaded = await run.client.post("/v1/models/b/load", json={"stream": True})
        lines = [line for line in loaded.text.split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        told = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        assert (told[-1]["state"], told[-1]["progress"]) == ("loaded", 1.0)
        unloaded = await run.client.post("/v1/models/b/unload", json={})
        assert unloaded.json()["state"] == "unloaded"
        assert run.engine.loads == run.engine.unloads == ["b"]
        assert (await run.client.post("/v1/models/d/load")).status_code == 404
        assert (await run.client.post("/v1/models/b/load", json={"x": 1})).status_code == 422


async def test_a_load_that_fails_ends_its_progress_with_the_fault() -> None:
    engine = FakeEngine()
    engine.load_faults = {"b": [LoadFailed("b", "The weights are broken.", "startup_failed")]}
    async with serving(engine=engine) as run:
        loaded = await run.client.post("/v1/models/b/load", json={"stream": True})
        last = loaded.text.strip().split("\n\n")[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "model_load_failed"


@pytest.mark.parametrize(
    ("headers", "peer", "status"),
    [
        ({}, "127.0.0.1", 200),
        ({}, "::1", 200),
        ({}, "10.0.0.7", 403),
        ({"origin": "http://elsewhere.test"}, "127.0.0.1", 403),
        ({"x-forwarded-for": "10.0.0.7"}, "127.0.0.1", 403),
    ],
)
async def test_without_a_key_only_this_machine_may_unload(
    headers: dict[str, str], peer: str, status: int
) -> None:
    async with serving() as run:
        transport = httpx.ASGITransport(run.app, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://kvorum.test") as client:
            answer = await client.post("/v1/models/b/unload", headers=headers)
        assert answer.status_code == status


async def test_with_a_key_whoever_has_it_may_unload() -> None:
    async with serving("--api-key", "sk-0123456789abcdef") as run:
        assert (await run.client.post("/v1/models/b/unload")).status_code == 401
        transport = httpx.ASGITransport(run.app, client=("10.0.0.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://kvorum.test") as client:
            headers = {"authorization": "Bearer sk-0123456789abcdef"}
            answer = await client.post("/v1/models/b/unload", headers=headers)
        assert answer.status_code == 200
