"""Health and metrics in every state of the server."""

from __future__ import annotations

import time

import anyio
import pytest

from engine.errors import OutOfMemory
from engine.protocol import Crashed, Stats
from tests.fakes import FakeEngine
from tests.requirements import requirement
from tests.service.running import CHAT, chat_body, error_of, running


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


async def test_while_the_model_loads_the_server_lives_but_is_not_ready() -> None:
    engine = FakeEngine(ready=False)
    async with running(engine=engine) as run:
        engine.load(0.25)
        await anyio.wait_all_tasks_blocked()
        assert (await run.client.get("/health/live")).status_code == 200
        ready = await run.client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": "unavailable", "reason": "The model is loading."}
        assert ready.headers["retry-after"] == "5"
        health = await run.client.get("/health")
        assert health.status_code == 503
        assert health.json()["state"] == "loading"
        assert health.json()["load_progress"] == 0.25
        assert (await run.client.get("/v1/models")).status_code == 200

        engine.become_ready()
        with anyio.fail_after(5):
            await run.lifecycle.wait_ready()
        assert (await run.client.get("/health/ready")).status_code == 200


async def test_health_tells_state_model_numbers_and_uptime() -> None:
    async with running() as run:
        run.engine.tell(
            Stats(num_running=2, num_waiting=3, num_blocks=9, num_blocks_used=4, num_steps=5)
        )
        await anyio.wait_all_tasks_blocked()
        response = await run.client.get("/health")
        assert response.status_code == 200
        body = response.json()
        assert body.pop("uptime_s") >= 0
        assert body == {
            "status": "ok",
            "state": "ready",
            "reason": None,
            "model": "kvorum-mini",
            "load_progress": 1.0,
            "engine": {
                "running": 2,
                "waiting": 3,
                "blocks_used": 4,
                "blocks_total": 9,
                "steps": 5,
                "step_age_s": 0.0,
                "queue_age_s": 0.0,
                "restarts": 0,
            },
        }


async def test_an_engine_that_dies_and_comes_back_turns_health_red_and_green() -> None:
    async with running() as run:
        run.engine.tell(Crashed("gone"))
        await anyio.wait_all_tasks_blocked()
        ready = await run.client.get("/health/ready")
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "5")
        assert (await run.client.get("/health/live")).status_code == 200
        assert (await run.client.get("/health")).json()["engine"]["restarts"] == 1
        run.engine.become_ready()
        await anyio.wait_all_tasks_blocked()
        assert (await run.client.get("/health/ready")).status_code == 200


async def test_a_running_step_and_the_head_of_the_queue_show_their_age() -> None:
    async with running() as run:
        start_ns = time.monotonic_ns() - 3_000_000_000
        run.engine.tell(Stats(step_started_ns=start_ns, head_queued_ns=start_ns))
        await anyio.wait_all_tasks_blocked()
        engine = (await run.client.get("/health")).json()["engine"]
        assert 3 <= engine["step_age_s"] < 30
        assert 3 <= engine["queue_age_s"] < 30


async def test_health_answers_head_without_a_body() -> None:
    async with running() as run:
        for path in ("/health", "/health/live", "/health/ready"):
            assert (await run.client.head(path)).status_code == 200


@requirement("errors.503", "headers.retry_after")
async def test_when_the_engine_dies_health_is_red_and_the_api_says_503() -> None:
    async with running() as run:
        run.engine.die()
        with anyio.fail_after(5):
            await run.lifecycle.wait_down()
        assert (await run.client.get("/health/live")).status_code == 200
        ready = await run.client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.headers["retry-after"]
        assert (await run.client.get("/health")).json()["state"] == "down"
        response = await run.client.post(CHAT, json=chat_body())
        assert response.status_code == 503
        assert error_of(response)["code"] == "engine_unavailable"
        assert response.headers["retry-after"]
        assert run.lifecycle.fault is not None
        assert run.lifecycle.was_ready


async def test_an_engine_that_cannot_start_is_a_fault_with_its_own_words() -> None:
    class Failing(FakeEngine):
        def __call__(self, config: object = None) -> object:  # type: ignore[override]
            raise OutOfMemory("Take a smaller model.")

    async with running(engine=Failing(ready=False)) as run:
        with anyio.fail_after(5):
            await run.lifecycle.wait_down()
        assert run.lifecycle.fault is not None
        assert run.lifecycle.fault.message == "Take a smaller model."
        assert not run.lifecycle.was_ready
        assert (await run.client.get("/health/live")).status_code == 200
        assert (await run.client.get("/health")).status_code == 503


async def test_an_unforeseen_exception_of_the_engine_is_a_fault_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(FakeEngine):
        def __call__(self, config: object = None) -> object:  # type: ignore[override]
            raise ZeroDivisionError

    async with running(engine=Failing(ready=False)) as run:
        with anyio.fail_after(5):
            await run.lifecycle.wait_down()
        assert run.lifecycle.fault is not None
    assert any(record.exc_info for record in caplog.records)


async def test_metrics_state_the_engines_numbers_and_count_requests() -> None:
    async with running() as run:
        await run.client.post(CHAT, json=chat_body())
        await run.client.get("/nothing/at/all")
        run.engine.tell(
            Stats(
                num_running=2,
                num_waiting=3,
                num_blocks=64,
                num_blocks_used=4,
                num_steps=5,
                num_prompt_tokens=6,
                num_output_tokens=7,
                finishes={"stop": 8},
            )
        )
        await anyio.wait_all_tasks_blocked()
        response = await run.client.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        lines = response.text.splitlines()
        numbers = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in lines}
        assert numbers["kvorum_requests_running"] == "2.0"
        assert numbers["kvorum_requests_waiting"] == "3.0"
        assert 'route="/v1/chat/completions"' in response.text
        assert "/nothing/at/all" not in response.text
        assert 'vllm:num_requests_running{model_name="kvorum-mini"}' in response.text
        assert "gen_ai_server_time_to_first_token_seconds_count" in response.text


async def test_metrics_can_be_had_as_openmetrics_and_before_the_engine_is_there() -> None:
    async with running(engine=FakeEngine(ready=False)) as run:
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        response = await run.client.get("/metrics", headers=accept)
        assert response.headers["content-type"].startswith("application/openmetrics-text")
        assert response.text.endswith("# EOF\n")
