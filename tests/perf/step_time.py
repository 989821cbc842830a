"""How much HTTP costs a step: 256 open streams, the engine in its own process, inline, or bare.

    python -m tests.perf.step_time [--streams 256] [--seconds 8] [--rounds 5]

Bare is the engine alone in a process, its events read by nobody: no HTTP at all. All three run
the same random model and the same requests; rounds are interleaved. A step's time is the window
divided by the steps in it, by the engine's own counter. The load generator shares the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from engine.config import EngineConfig
from engine.inline import open_inline
from engine.models.card import read_card
from engine.protocol import SamplingParams, Submit, pack_token_ids
from tests.contract.conftest import metric, running_server
from tests.tiny_model import save_tiny_model

if TYPE_CHECKING:
    from engine.client import EngineClient

SHAPE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}
CONTEXT = 4096
MODES = ("bare", "process", "inline")


def main() -> None:
    """Print one line a round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(anyio.run(bare_step_ms, options.bare, options.streams, options.seconds))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = save_tiny_model(
            Path(folder) / "endless",
            "Llama",
            eos_token_id=None,
            max_position_embeddings=CONTEXT,
            **SHAPE,
        )
        rounds = [measure(model, options) for _ in range(options.rounds)]
    medians = {mode: statistics.median(r[mode] for r in rounds) for mode in MODES}
    print(
        f"step at {options.streams} streams, ms, median of {options.rounds}: "
        + ", ".join(f"{mode} {ms:.2f}" for mode, ms in medians.items())
        + f"; process {medians['process'] / medians['bare']:.3f} of bare, "
        f"inline {medians['inline'] / medians['bare']:.3f} of bare"
    )


def measure(model: Path, options: argparse.Namespace) -> dict[str, float]:
    """One round: the mean step of each mode in ms."""
    program = [sys.executable, "-m", "tests.perf.step_time", "--bare", str(model)]
    sizes = ["--streams", str(options.streams), "--seconds", str(options.seconds)]
    bare = subprocess.run([*program, *sizes], capture_output=True, text=True, check=True)
    times = {"bare": float(bare.stdout)}
    for mode in MODES[1:]:
        arguments = (
            str(model),
            "--engine-mode",
            mode,
            "--log-level",
            "error",
            "--num-threads",
            "1",
        )
        with running_server(*arguments) as url:
            times[mode] = anyio.run(served_step_ms, url, options.streams, options.seconds)
    print({mode: round(ms, 2) for mode, ms in times.items()}, flush=True)
    return times


async def bare_step_ms(model: Path, num_streams: int, seconds: float) -> float:
    """The mean step without HTTP."""
    config = EngineConfig(card=read_card(model, "endless"), device="cpu", num_threads=1)
    async with open_inline(config) as client, anyio.create_task_group() as tasks:
        await client.wait_ready()
        for index in range(num_streams):
            tasks.start_soon(_run_unread, client, index)
        while client.stats.num_running < num_streams:
            await anyio.sleep(0.05)
        await anyio.sleep(1)
        steps, start = client.stats.num_steps, time.monotonic()
        await anyio.sleep(seconds)
        step_ms = (time.monotonic() - start) * 1000 / (client.stats.num_steps - steps)
        tasks.cancel_scope.cancel()
    return step_ms


async def _run_unread(client: EngineClient, index: int) -> None:
    params = SamplingParams(CONTEXT, temperature=0, top_p=1, top_k=0, seed=0)
    prompt = pack_token_ids([index % 250, 1, 2, 3])
    with client.generate(Submit(str(index), prompt, params, time.monotonic_ns())):
        await anyio.sleep_forever()


async def served_step_ms(url: str, num_streams: int, seconds: float) -> float:
    """The mean step while as many streams are read over HTTP/1.1."""
    host, port = url.removeprefix("http://").split(":")
    async with anyio.create_task_group() as tasks:
        for index in range(num_streams):
            tasks.start_soon(_read_stream, host, int(port), index)
        while metric(url, "kvorum_requests_running") < num_streams:
            await anyio.sleep(0.1)
        await anyio.sleep(1)
        steps, start = metric(url, "kvorum_engine_steps_total"), time.monotonic()
        await anyio.sleep(seconds)
        step_ms = (
            (time.monotonic() - start) * 1000 / (metric(url, "kvorum_engine_steps_total") - steps)
        )
        tasks.cancel_scope.cancel()
    return step_ms


async def _read_stream(host: str, port: int, index: int) -> None:
    body = json.dumps(
        {
            "model": "endless",
            "messages": [{"role": "user", "content": f"{index}"}],
            "stream": True,
            "temperature": 0,
        }
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    async with await anyio.connect_tcp(host, port) as stream:
        await stream.send(head.encode())
        while True:
            await stream.receive()


if __name__ == "__main__":
    main()
