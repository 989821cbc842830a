"""Worker processes, from their start to their results, against a stub in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from observability.bench.errors import CannotMeasure
from observability.bench.load.client_lag import quantile, worst_of
from observability.bench.load.conductor import Conductor
from observability.bench.plan import Target
from observability.bench.run import Lateness
from observability.bench.turn import Session, Turn
from tests.observability.bench.stub_server import StubServer, stub_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
SESSIONS = [
    Session(index=index, turns=[Turn(text="hi", num_output_tokens=3)]) for index in range(8)
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with stub_server() as stub:
        yield stub


def target_of(server: StubServer, **more: Any) -> Target:
    return Target(url=f"http://127.0.0.1:{server.port}", model="stub", **more)


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until_running(server: StubServer, num: int) -> None:
    with anyio.fail_after(20):
        while server.seen.num_running < num:
            await anyio.sleep(0.02)


async def test_two_workers_measure_all_sessions_and_leave_out_the_warm_up(
    server: StubServer,
) -> None:
    warmup = [Session(index=-1, turns=[Turn(text="warm")], due_s=99.0)] * 4
    before_ns = time.monotonic_ns()
    with anyio.fail_after(30):
        async with Conductor(target_of(server), SESSIONS, warmup, 3, 2, "a-key") as conductor:
            pids = conductor.pids
            commands = list(map(command_of, pids))
            outcome = await conductor.run()
    assert len(pids) == 2
    assert [(got.session, got.turn) for got in outcome.results] == [(at, 0) for at in range(8)]
    assert {got.error for got in outcome.results} == {""}
    assert outcome.duration_s == max(got.end_s for got in outcome.results)
    assert before_ns < outcome.begin_ns == conductor.begin_ns
    begin_s = outcome.begin_ns / 1e9
    assert min(server.seen.times_s[4:]) >= begin_s > max(server.seen.times_s[:4])
    assert [body["messages"][0]["content"] for body in server.seen.bodies] == ["warm"] * 4 + [
        "hi"
    ] * 8
    assert server.seen.max_running <= 3
    assert set(server.seen.keys) == {"Bearer a-key"}
    assert all(b"a-key" not in command for command in commands)
    progress = conductor.progress
    assert (progress.num_done, progress.num_failed, progress.num_running) == (8, 0, 0)
    assert progress.num_events == 24
    assert progress.elapsed_s > 0
    assert outcome.lateness.cpu_share > 0
    assert outcome.lateness.loop_max_ms >= outcome.lateness.loop_p99_ms
    assert not any(map(is_alive, pids))


async def test_sessions_are_sent_when_they_are_due_from_the_common_begin(
    server: StubServer,
) -> None:
    sessions = [msgspec.structs.replace(one, due_s=one.index * 0.05) for one in SESSIONS]
    with anyio.fail_after(30):
        async with Conductor(target_of(server), sessions, num_processes=2) as conductor:
            outcome = await conductor.run()
    came_s = [at_s - outcome.begin_ns / 1e9 for at_s in server.seen.times_s]
    assert came_s == pytest.approx([one.index * 0.05 for one in SESSIONS], abs=0.04)


async def test_a_warm_up_that_fails_as_a_whole_ends_it(server: StubServer) -> None:
    target = target_of(server, body={"stub": {"status": 404}})
    with anyio.fail_after(30), pytest.raises(CannotMeasure, match="http 404: stub says 404"):
        async with Conductor(target, SESSIONS, SESSIONS[:2]) as conductor:
            await conductor.run()


async def test_a_worker_that_dies_is_told(server: StubServer) -> None:
    target = target_of(server, body={"stub": {"head_delay_ms": 60_000}})
    with anyio.fail_after(30):
        async with Conductor(target, SESSIONS, num_processes=2) as conductor:
            pids = conductor.pids
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_kill_when_running, server, pids[1])
                with pytest.raises(CannotMeasure, match="ended by signal 9"):
                    await conductor.run()
    assert not any(map(is_alive, pids))


async def _kill_when_running(server: StubServer, pid: int) -> None:
    await until_running(server, 8)
    os.kill(pid, signal.SIGKILL)


async def test_the_last_words_of_a_worker_are_told(server: StubServer) -> None:
    sessions = [Session(index=0, turns=[Turn(token_ids=[1])])]
    with anyio.fail_after(30), pytest.raises(CannotMeasure, match="--endpoint completions"):
        async with Conductor(target_of(server), sessions) as conductor:
            await conductor.run()


async def test_cancelling_leaves_no_process(server: StubServer) -> None:
    target = target_of(server, body={"stub": {"head_delay_ms": 60_000}})
    with anyio.fail_after(30):
        with anyio.CancelScope() as scope:
            async with Conductor(target, SESSIONS, num_processes=2) as conductor:
                pids = conductor.pids
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(conductor.run)
                    await until_running(server, 8)
                    scope.cancel()
        assert scope.cancelled_caught
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


async def test_stopping_keeps_what_was_measured(server: StubServer) -> None:
    slow = {"stub": {"delay_ms": 50, "gap_ms": 20}}
    sessions = [msgspec.structs.replace(one, due_s=one.index * 100.0) for one in SESSIONS]
    with anyio.fail_after(30):
        async with Conductor(target_of(server, body=slow), sessions) as conductor:

            async def stop_after_one() -> None:
                while conductor.progress.num_done < 1:
                    await anyio.sleep(0.02)
                conductor.stop()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop_after_one)
                outcome = await conductor.run()
    assert [(got.session, got.error) for got in outcome.results] == [(0, "")]
    assert outcome.duration_s < 1


async def test_a_request_in_flight_leaves_no_result_when_it_is_stopped(
    server: StubServer,
) -> None:
    target = target_of(server, body={"stub": {"head_delay_ms": 60_000}})
    with anyio.fail_after(30):
        async with Conductor(target, SESSIONS) as conductor:

            async def stop_when_running() -> None:
                await until_running(server, 8)
                conductor.stop()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop_when_running)
                outcome = await conductor.run()
    assert outcome.results == []
    assert outcome.duration_s == 0


async def test_stopped_before_the_begin_there_is_nothing_to_keep(server: StubServer) -> None:
    with anyio.fail_after(30):
        async with Conductor(target_of(server), SESSIONS) as conductor:
            conductor.stop()
            with pytest.raises(CannotMeasure, match="stopped before"):
                await conductor.run()


def test_a_worker_ends_with_its_stdin() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "observability.bench.load.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as worker:
        said, _ = worker.communicate(timeout=30)
    assert said == b""
    assert worker.returncode == 0


def test_what_cannot_be_a_load_is_said() -> None:
    target = Target(url="http://x", model="m")
    with pytest.raises(CannotMeasure, match="no requests"):
        Conductor(target, [])
    with pytest.raises(CannotMeasure, match="at least one process"):
        Conductor(target, SESSIONS, num_processes=0)
    with pytest.raises(CannotMeasure, match="at least one process"):
        Conductor(target, SESSIONS, max_concurrency=0)
    with pytest.raises(CannotMeasure, match="is no address"):
        Conductor(Target(url="ftp://x", model="m"), SESSIONS)


def test_the_lateness_of_all_is_that_of_the_worst_in_each() -> None:
    some = [Lateness(loop_p99_ms=1, cpu_share=0.5), Lateness(send_p99_ms=3, cpu_share=0.2)]
    assert worst_of(some) == Lateness(loop_p99_ms=1, send_p99_ms=3, cpu_share=0.5)
    assert worst_of([]) == Lateness()
    assert quantile([], 0.99) == 0
    assert quantile(range(100), 0.99) == 99
    assert quantile([5.0], 0.5) == 5
