"""Servers that are started for a measurement: ready inside, gone after, honest when they die."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_process
import anyio.to_thread
import pytest

from observability.bench.ask import ask
from observability.bench.errors import CannotMeasure, WrongOption
from observability.bench.server_command import ServerCommand
from observability.bench.startup import measure_startup
from observability.bench.startup_table import startup_table
from observability.bench.watch.process_tree import ProcessTree

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = sys.executable
STUB = f"{PYTHON} -m tests.observability.bench.stub_server --port {{port}}"
# Starts a child in its own group, which would outlive it, and hears no SIGTERM.
STUBBORN = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "subprocess.run([sys.executable, '-m', 'tests.observability.bench.stub_server', '--port', sys.argv[1]])"
)
# Ends a while after it was asked to, and says so.
SLOW_TO_END = """
import http.server, pathlib, signal, sys, time

def end(*_):
    time.sleep(0.3)
    pathlib.Path(sys.argv[2]).write_text("orderly")
    sys.exit()

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

signal.signal(signal.SIGTERM, end)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""
# Has a child in a group of its own, which no signal to the server's group reaches.
ASIDE = (
    "import os, subprocess, sys; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], process_group=0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'tests.observability.bench.stub_server', '--port', sys.argv[1]])"
)


def num_running(group: int) -> int:
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True, check=False
    )
    return sum(not line.startswith("Z") for line in listed.stdout.split())


async def test_it_is_ready_inside_the_block_and_gone_after() -> None:
    with anyio.fail_after(30):
        async with ServerCommand(STUB) as server:
            status, _ = await anyio.to_thread.run_sync(ask, server.url, "/v1/models")
            assert status == 200
            pid = server.pid
    assert num_running(pid) == 0


async def test_nothing_is_left_of_one_that_hears_no_signal_and_has_children() -> None:
    with anyio.fail_after(30):
        async with ServerCommand(f'{PYTHON} -c "{STUBBORN}" {{port}}', grace_s=0.2) as server:
            assert ProcessTree(server.pid).use().num_processes >= 2
            pid = server.pid
    assert num_running(pid) == 0


async def test_what_a_command_wraps_has_the_grace_too(tmp_path: Path) -> None:
    script, ended = tmp_path / "server.py", tmp_path / "ended"
    script.write_text(SLOW_TO_END)
    wrapped = f"sh -c '{PYTHON} {script} {{port}} {ended}; true'"  # sh ends at once
    with anyio.fail_after(30):
        async with ServerCommand(wrapped) as server:
            pid = server.pid
    assert ended.read_text() == "orderly"
    assert num_running(pid) == 0


async def test_nothing_is_left_of_a_child_in_another_group() -> None:
    with anyio.fail_after(30):
        async with ServerCommand(f'{PYTHON} -c "{ASIDE}" {{port}}', grace_s=0.2) as server:
            pid = server.pid
            assert num_running(pid) == 2
    assert num_running(pid) == 0


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_our_own_server_is_ready_inside_the_block_and_gone_after() -> None:
    with anyio.fail_after(55):
        async with ServerCommand(f"{PYTHON} -m service serve --port {{port}}") as server:
            pid = server.pid
            status, _ = await anyio.to_thread.run_sync(ask, server.url, "/health/ready")
            assert status == 200
    assert num_running(pid) == 0


async def test_nothing_is_left_when_the_wait_is_given_up() -> None:
    sleeper = ServerCommand(f'{PYTHON} -c "import time; time.sleep(600)" {{port}}', grace_s=0.2)
    pids = []
    with anyio.move_on_after(1.0) as scope:
        await sleeper.start()
        pids.append(sleeper.pid)
        try:
            await sleeper.wait_ready()
        finally:
            await sleeper.stop()
    assert scope.cancelled_caught
    assert num_running(pids[0]) == 0


async def test_one_that_dies_gives_its_last_words() -> None:
    dying = f"{PYTHON} -c \"print('loading {{port}}'); raise SystemExit('out of luck')\""
    with (
        anyio.fail_after(20),
        pytest.raises(CannotMeasure, match=r"ended with 1(.|\n)*out of luck"),
    ):
        async with ServerCommand(dying):
            pass
    with anyio.fail_after(20), pytest.raises(CannotMeasure, match="cannot be started"):
        async with ServerCommand("/no/such/program {port}"):
            pass


async def test_one_that_is_never_ready_is_given_up() -> None:
    sleeping = f'{PYTHON} -c "import time; time.sleep(600)" {{port}}'
    with anyio.fail_after(20), pytest.raises(CannotMeasure, match="not ready after 1 s"):
        async with ServerCommand(sleeping, deadline_s=0.6, grace_s=0.2):
            pass


@pytest.mark.parametrize("words", ["kvorum serve", 'kvorum "{port}'])
def test_a_command_that_cannot_be_is_wrong_usage(words: str) -> None:
    with pytest.raises(WrongOption):
        ServerCommand(words)


def test_a_tree_counts_children_that_run_and_children_that_have_ended() -> None:
    burn = "import time; t = time.process_time()\nwhile time.process_time() < t + {}: pass"
    parent = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {burn.format(0.3)!r}])\n"
        f"child = subprocess.Popen([sys.executable, '-c', {(burn.format(0.3) + chr(10) + 'input()')!r}], stdin=-1)\n"
        "x = bytearray(50_000_000); print('burnt', flush=True); input()"
    )
    with subprocess.Popen(
        [PYTHON, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree = ProcessTree(process.pid)
        deadline_s = time.monotonic() + 20
        while (use := tree.use()).cpu_s < 0.55 and time.monotonic() < deadline_s:
            pass
        assert use.cpu_s >= 0.55
        assert use.num_processes == 2
        assert tree.peak_rss_bytes >= use.rss_bytes > 50_000_000
        process.kill()
    assert tree.use().cpu_s == 0


async def test_a_start_is_measured_from_the_command_to_the_first_token_and_the_end() -> None:
    with anyio.fail_after(30):
        one = await measure_startup(STUB + " --delay-ms 100")
    assert 0 < one.live.wall_s <= one.ready.wall_s <= one.first_token.wall_s - 0.1
    assert 0 < one.ready.cpu_s <= one.first_token.cpu_s < 10
    assert one.peak_rss_bytes > 10_000_000
    assert "first token" in startup_table([one, one])
    with anyio.fail_after(30), pytest.raises(CannotMeasure, match="500"):
        await measure_startup(STUB + " --status 500")


async def test_a_first_token_may_be_reasoning() -> None:
    with anyio.fail_after(30):
        one = await measure_startup(STUB + " --num-reasoning-tokens 10")
    assert one.first_token.wall_s >= one.ready.wall_s


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("--error-after 0", "stream says"),
        ("--num-tokens 0", "without a text"),
        ("--bad-json-after 0", "cannot be read"),
    ],
)
async def test_a_stream_without_a_token_says_why(behaviour: str, said: str) -> None:
    with anyio.fail_after(30), pytest.raises(CannotMeasure, match=said):
        await measure_startup(f"{STUB} {behaviour}")


async def test_a_start_can_be_given_up_while_its_token_is_awaited() -> None:
    with anyio.fail_after(20):
        with anyio.move_on_after(1.5) as scope:
            await measure_startup(STUB + " --head-delay-ms 40000")
    assert scope.cancelled_caught


async def test_a_watch_keeps_what_was_the_most() -> None:
    swell = "x = bytearray(60_000_000); input(); del x; print(flush=True); input()"
    async with await anyio.open_process([PYTHON, "-c", swell]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        tree = ProcessTree(process.pid)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tree.watch)
                while tree.peak_rss_bytes < 60_000_000:
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            await process.stdin.send(b"\n")
            await process.stdout.receive()
        assert tree.use().rss_bytes < 60_000_000 <= tree.peak_rss_bytes
        process.kill()
