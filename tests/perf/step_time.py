"""How much HTTP costs a step: 256 open streams, the engine in its own process, inline, or bare.

    python -m tests.perf.step_time [--streams 256] [--steps 80] [--rounds 9]

Bare is the engine alone in a process, its events read by nobody: no HTTP at all. All three run
the same random model and the same requests; rounds are interleaved, each begun by another mode. A
step's time is a window divided by the steps in it, by the engine's own counter. The window begins
when as many tokens have been generated in each mode, for a step grows with what the streams have
behind them. The load generator shares the machine.
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
import anyio.to_thread

from engine.config import EngineConfig
from engine.inline import open_inline
from engine.models.card import read_card
from engine.protocol import SamplingParams, Submit, pack_token_ids
from tests.contract.conftest import metric, running_server
from tests.tiny_model import save_tiny_model

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from engine.client import EngineClient

SHAPE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}
CONTEXT = 4096
_TOKENS_BEFORE = 40
MODES = ("bare", "process", "inline")


def main() -> None:
    """Print one line a round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(anyio.run(bare_step_ms, options.bare, options.streams, options.steps))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = save_tiny_model(
            Path(folder) / "endless",
            "Llama",
            eos_token_id=None,
            max_position_embeddings=CONTEXT,
            **SHAPE,
        )
        rounds = [measure(model, options, index) for index in range(options.rounds)]
    medians = {mode: statistics.median(r[mode] for r in rounds) for mode in MODES}
    ratios = {mode: statistics.median(r[mode] / r["bare"] for r in rounds) for mode in MODES}
    print(
        f"step at {options.streams} streams, ms, median of {options.rounds}: "
        + ", ".join(f"{mode} {ms:.2f}" for mode, ms in medians.items())
        + f"; of the same round's bare: process {ratios['process']:.3f}, "
        f"inline {ratios['inline']:.3f}"
    )


def measure(model: Path, options: argparse.Namespace, index: int) -> dict[str, float]:
    """One round: the mean step of each mode in ms."""
    first = index % len(MODES)
    times = {mode: _step_ms(mode, model, options) for mode in MODES[first:] + MODES[:first]}
    print({mode: round(times[mode], 2) for mode in MODES}, flush=True)
    return times


def _step_ms(mode: str, model: Path, options: argparse.Namespace) -> float:
    if mode == "bare":
        program = [sys.executable, "-m", "tests.perf.step_time", "--bare", str(model)]
        sizes = ["--streams", str(options.streams), "--steps", str(options.steps)]
        bare = subprocess.run([*program, *sizes], capture_output=True, text=True, check=True)
        return float(bare.stdout)
    quiet = ("--log-level", "error", "--num-threads", "1")
    with running_server(str(model), "--engine-mode", mode, *quiet) as url:
        return anyio.run(served_step_ms, url, options.streams, options.steps)


async def _window_ms(
    counts: Callable[[], Awaitable[tuple[float, float]]], num_streams: int, num_steps: int
) -> float:
    """The mean step; `counts` gives the engine's (steps, output tokens) so far."""
    while (await counts())[1] < num_streams * _TOKENS_BEFORE:
        await anyio.sleep(0.05)
    (first, _), start = await counts(), time.monotonic()
    while (last := (await counts())[0]) < first + num_steps:
        await anyio.sleep(0.05)
    return (time.monotonic() - start) * 1000 / (last - first)


async def bare_step_ms(model: Path, num_streams: int, num_steps: int) -> float:
    """The mean step without HTTP."""
    config = EngineConfig(card=read_card(model, "endless"), device="cpu", num_threads=1)
    async with open_inline(config) as client, anyio.create_task_group() as tasks:
        await client.wait_ready()
        for index in range(num_streams):
            tasks.start_soon(_run_unread, client, index)

        async def counts() -> tuple[float, float]:
            return client.stats.num_steps, client.stats.num_output_tokens

        step_ms = await _window_ms(counts, num_streams, num_steps)
        assert client.stats.num_running == num_streams
        tasks.cancel_scope.cancel()
    return step_ms


async def _run_unread(client: EngineClient, index: int) -> None:
    params = SamplingParams(CONTEXT, temperature=0, top_p=1, top_k=0, seed=0)
    prompt = pack_token_ids([index % 250, 1, 2, 3])
    with client.generate(Submit(str(index), prompt, params, time.monotonic_ns())):
        await anyio.sleep_forever()


async def served_step_ms(url: str, num_streams: int, num_steps: int) -> float:
    """The mean step while as many streams are read over HTTP/1.1."""
    host, port = url.removeprefix("http://").split(":")
    async with anyio.create_task_group() as tasks:
        for index in range(num_streams):
            tasks.start_soon(_read_stream, host, int(port), index)

        async def counts() -> tuple[float, float]:
            # In a thread: the streams must be read on meanwhile.
            return await anyio.to_thread.run_sync(_counts, url)

        step_ms = await _window_ms(counts, num_streams, num_steps)
        assert metric(url, "kvorum_requests_running") == num_streams
        tasks.cancel_scope.cancel()
    return step_ms


def _counts(url: str) -> tuple[float, float]:
    return metric(url, "kvorum_engine_steps_total"), metric(url, "kvorum_generated_tokens_total")


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
