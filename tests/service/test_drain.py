"""Draining: nothing new, nobody cut before the deadline, nobody left after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from service.lifecycle import State
from tests.fakes import FakeEngine
from tests.requirements import requirement
from tests.service.running import CHAT, chat_body, error_of, running

if TYPE_CHECKING:
    from httpx import Response


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


@requirement("errors.503", "headers.retry_after")
async def test_a_drain_refuses_new_requests_finishes_running_ones_and_closes_the_engine() -> None:
    engine = FakeEngine(hold_after=2)
    answers: list[Response] = []
    async with running(engine=engine) as run, anyio.create_task_group() as tasks:

        async def ask() -> None:
            answers.append(await run.client.post(CHAT, json=chat_body()))

        tasks.start_soon(ask)
        with anyio.fail_after(5):
            await engine.submitted.wait()
        run.stop.set()
        await anyio.wait_all_tasks_blocked()
        assert run.lifecycle.state is State.DRAINING

        refused = await run.client.post(CHAT, json=chat_body())
        assert refused.status_code == 503
        assert error_of(refused)["code"] == "shutting_down"
        assert refused.headers["retry-after"]
        assert (await run.client.get("/health/live")).status_code == 200
        ready = await run.client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["reason"] == "The server is shutting down."
        assert not engine.is_closed

        engine.resume()
        with anyio.fail_after(5):
            await run.lifecycle.wait_down()
    [answer] = answers
    assert answer.status_code == 200
    assert len(engine.submits) == 1
    assert engine.is_closed
    assert run.lifecycle.fault is None


async def test_at_the_drains_deadline_what_still_runs_is_ended_with_an_error() -> None:
    engine = FakeEngine(hold_after=2)
    answers: list[Response] = []
    async with running("--drain-timeout-s", "0", engine=engine) as run:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                answers.append(await run.client.post(CHAT, json=chat_body(stream=True)))

            tasks.start_soon(ask)
            with anyio.fail_after(5):
                await engine.submitted.wait()
                await anyio.wait_all_tasks_blocked()
                run.stop.set()
                await run.lifecycle.wait_down()
        [answer] = answers
        assert answer.status_code == 200
        assert '"code":"shutting_down"' in answer.text
        assert "[DONE]" not in answer.text
        assert run.lifecycle.num_open == 0


async def test_a_drain_while_loading_does_not_wait_for_the_model() -> None:
    async with running(engine=FakeEngine(ready=False)) as run:
        run.stop.set()
        with anyio.fail_after(5):
            await run.lifecycle.wait_down()
        assert run.lifecycle.fault is None
