"""The engine process dies or hangs under 64 streams, and the server lives on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from tests.contract.conftest import metric, running_server
from tests.requirements import requirement
from tests.tiny_model import save_tiny_model

BODY = {
    "model": "endless",
    "messages": [{"role": "user", "content": "What is 17 + 25?"}],
    "stream": True,
    "temperature": 0,
}
NUM_STREAMS = 64


def engine_pid(url: str) -> int:
    """The engine process below the server that listens on `url`."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            is_ours = url.rsplit(":", 1)[1] in listening_ports(parent)
        except (OSError, IndexError, ValueError):
            continue
        if b"engine.child" in command and is_ours:
            return int(folder.name)
    raise AssertionError("there is no engine process")


def listening_ports(pid: int) -> set[str]:
    inodes = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {str(int(r[1].split(":")[1], 16)) for r in rows if f"socket:[{r[9]}]" in inodes}


async def last_event(http: httpx.AsyncClient, url: str, running: anyio.Event) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async with http.stream("POST", f"{url}/v1/chat/completions", json=BODY) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                assert line != "data: [DONE]"
                last = json.loads(line.removeprefix("data: "))
                running.set()
    return last


@requirement("errors.in_stream")
@pytest.mark.parametrize(("number", "limit_s"), [(signal.SIGKILL, 20), (signal.SIGSTOP, 60)])
@pytest.mark.timeout(180)
async def test_every_stream_gets_its_error_event_and_the_next_request_its_answer(
    number: signal.Signals, limit_s: float, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path / "endless", "Llama", eos_token_id=None)
    arguments = (str(folder), "--engine-mode", "process", "--log-level", "error")
    with running_server(*arguments) as url:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(timeout=120, limits=limits) as http:
            running = [anyio.Event() for _ in range(NUM_STREAMS)]
            lasts: list[dict[str, Any]] = []

            async def stream(event: anyio.Event) -> None:
                lasts.append(await last_event(http, url, event))

            async with anyio.create_task_group() as tasks:
                for event in running:
                    tasks.start_soon(stream, event)
                for event in running:
                    await event.wait()
                os.kill(engine_pid(url), number)
                tasks.cancel_scope.deadline = anyio.current_time() + limit_s
            assert [last["error"]["code"] for last in lasts] == ["engine_unavailable"] * NUM_STREAMS

            assert (await http.get(f"{url}/health/live")).status_code == 200
            ready = await http.get(f"{url}/health/ready")
            assert ready.status_code == 503
            refused = await http.post(f"{url}/v1/chat/completions", json=BODY)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            while (await http.get(f"{url}/health/ready")).status_code != 200:
                await anyio.sleep(0.05)
            short = {**BODY, "stream": False, "max_tokens": 4, "temperature": 0}
            answer = await http.post(f"{url}/v1/chat/completions", json=short)
            assert answer.json()["usage"]["completion_tokens"] == 4
        assert metric(url, "kvorum_engine_restarts_total") == 1
        assert metric(url, "kvorum_kv_blocks_used") == metric(url, "kvorum_requests_running") == 0
