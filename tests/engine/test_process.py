"""The engine process: the same as inline while it lives, and what its death looks like."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest

from engine.config import CacheConfig, EngineConfig, WatchdogConfig
from engine.errors import EngineUnavailable
from engine.models.card import read_card
from engine.process import open_process
from engine.protocol import (
    Failed,
    Finished,
    RequestEvent,
    SamplingParams,
    Submit,
    Tokens,
    pack_token_ids,
)
from tests.tiny_model import greedy_by_transformers, save_tiny_model

if TYPE_CHECKING:
    from engine.client import EngineClient

PROMPT = [7, 8, 9]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EngineConfig:
    folder = save_tiny_model(tmp_path_factory.mktemp("model"), "Llama")
    return EngineConfig(
        card=read_card(folder, "tiny"),
        device="cpu",
        num_threads=1,
        cache=CacheConfig(num_blocks=400),
        watchdog=WatchdogConfig(max_silence_s=5, max_step_s=3, tick_s=0.05, backoff_s=0.01),
        log_level="error",
    )


def submit(name: str, max_tokens: int = 8, prompt: list[int] | None = None) -> Submit:
    params = SamplingParams(max_tokens, temperature=0, top_p=1, top_k=0, seed=0)
    return Submit(name, pack_token_ids(prompt or PROMPT), params, time.monotonic_ns())


async def answer(client: EngineClient, message: Submit) -> list[RequestEvent]:
    events: list[RequestEvent] = []
    with client.generate(message) as conversation:
        while not conversation.is_over:
            events += await conversation.receive()
    return events


def tokens_of(events: list[RequestEvent]) -> list[int]:
    return [token for e in events if isinstance(e, Tokens) for token in e.token_ids]


def child_pids() -> list[int]:
    tasks = Path("/proc/self/task")
    return [int(p) for t in tasks.iterdir() for p in (t / "children").read_text().split()]


def engine_pid() -> int:
    (pid,) = [
        pid for pid in child_pids() if b"engine.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return pid


async def streams_that_fail(client: EngineClient, count: int, number: signal.Signals) -> float:
    """Start streams, send the signal when all run; seconds until each has got its one `Failed`."""
    running = [anyio.Event() for _ in range(count)]
    ends: list[RequestEvent] = []

    async def stream(index: int) -> None:
        with client.generate(submit(f"s{index}", 500, [index])) as conversation:
            await conversation.receive()
            running[index].set()
            while not conversation.is_over:
                events = await conversation.receive()
            ends.append(events[-1])

    async with anyio.create_task_group() as tasks:
        for index in range(count):
            tasks.start_soon(stream, index)
        for event in running:
            await event.wait()
        os.kill(engine_pid(), number)
        start = time.monotonic()
    assert [type(end) for end in ends] == [Failed] * count
    assert {getattr(end, "code", "") for end in ends} == {"engine_unavailable"}
    return time.monotonic() - start


async def ready_again(client: EngineClient) -> None:
    with anyio.fail_after(60):
        while client.ready is None:
            await anyio.sleep(0.02)


async def test_it_answers_as_plain_transformers_does(config: EngineConfig) -> None:
    async with open_process(config) as client:
        await client.wait_ready(60)
        events = await answer(client, submit("a"))
    assert tokens_of(events) == greedy_by_transformers(Path(config.card.path), PROMPT, 8)
    assert isinstance(events[-1], Finished)
    timings = events[-1].timings
    assert 0 < timings.queues[0][0] <= timings.queues[0][1] <= timings.prefill_start_ns
    assert timings.prefill_start_ns < timings.first_token_ns < timings.last_token_ns


@pytest.mark.parametrize(("number", "limit_s"), [(signal.SIGKILL, 1.0), (signal.SIGSTOP, 8.0)])
async def test_a_death_fails_every_stream_and_the_next_life_answers_right(
    config: EngineConfig, number: signal.Signals, limit_s: float
) -> None:
    async with open_process(config) as client:
        await client.wait_ready(60)
        before = tokens_of(await answer(client, submit("before")))
        assert await streams_that_fail(client, 16, number) < limit_s
        with pytest.raises(EngineUnavailable), client.generate(submit("meanwhile")):
            pass
        await ready_again(client)
        assert tokens_of(await answer(client, submit("after"))) == before
        assert (client.num_crashes, client.num_in_flight) == (1, 0)
        assert client.stats.num_blocks_used == client.stats.num_running == 0


async def test_the_supervisors_own_standstill_is_not_the_engines(config: EngineConfig) -> None:
    async with open_process(config) as client:
        await client.wait_ready(60)
        with anyio.fail_after(30):
            blocked_s = config.watchdog.max_silence_s + 1
            os.kill(engine_pid(), signal.SIGSTOP)
            # The loop stands still, as in a suspended machine.
            time.sleep(blocked_s)  # noqa: ASYNC251
            os.kill(engine_pid(), signal.SIGCONT)
            assert tokens_of(await answer(client, submit("a")))
        assert client.num_crashes == 0


async def test_signals_for_the_group_do_not_end_it(config: EngineConfig) -> None:
    async with open_process(config) as client:
        await client.wait_ready(60)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(engine_pid(), number)
        assert tokens_of(await answer(client, submit("a")))
        assert client.num_crashes == 0


async def test_an_engine_that_idles_longer_than_a_step_may_take_lives_on(
    config: EngineConfig,
) -> None:
    async with open_process(config) as client:
        await client.wait_ready(60)
        await answer(client, submit("a"))
        await anyio.sleep(config.watchdog.max_step_s + 1)  # what is tested is a time
        assert tokens_of(await answer(client, submit("b")))
        assert client.num_crashes == 0


async def test_leaving_ends_the_process(config: EngineConfig) -> None:
    async with open_process(config) as client:
        await client.wait_ready(60)
        pid = engine_pid()
    assert pid not in child_pids()


async def test_an_engine_that_cannot_start_says_why_and_is_not_tried_again(
    config: EngineConfig,
) -> None:
    broken = msgspec.structs.replace(config, cache=CacheConfig(num_blocks=10**8))
    async with open_process(broken) as client:
        with anyio.fail_after(60):
            down = await client.wait_down()
    assert down.code == "startup_failed"
    assert "--num-blocks" in down.message
