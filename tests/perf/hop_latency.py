"""What the border of the engine process adds to a token, on a quiet machine.

    python -m tests.perf.hop_latency [--requests 400] [--rounds 5]

From the moment the engine's loop takes a step's result in (`RequestTimings.last_token_ns`) to the
moment the route holds the decoded event. Answers of one token, one request at a time, the embedded
model; rounds of both modes are interleaved. The difference of the two is what a hop costs. Beside them stands the bare wake: how
long a byte takes through a socket pair to a process that has slept for the length of a step.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from typing import TYPE_CHECKING

import anyio

from engine.config import EngineConfig
from engine.inline import open_inline
from engine.models.registry import resolve
from engine.process import open_process
from engine.protocol import Finished, SamplingParams, Submit, pack_token_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from engine.client import EngineClient

    Open = Callable[[EngineConfig], AbstractAsyncContextManager[EngineClient]]

_STEP_NS = 4_000_000
_OPENERS: dict[str, Open] = {"inline": open_inline, "process": open_process}


def main() -> None:
    """Print one line a round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    medians: dict[str, list[float]] = {mode: [] for mode in (*_OPENERS, "bare wake")}
    for _ in range(options.rounds):
        for mode, opener in _OPENERS.items():
            delays_us = anyio.run(_delays_us, opener, options.requests)
            medians[mode].append(statistics.median(delays_us))
        medians["bare wake"].append(_bare_wake_us(options.requests))
        print({mode: round(values[-1], 1) for mode, values in medians.items()}, flush=True)
    inline, process, wake = (statistics.median(values) for values in medians.values())
    print(
        f"from step to route, us at p50, median of {options.rounds}: inline {inline:.0f}, "
        f"process {process:.0f}; a hop adds {process - inline:.0f}, where a bare wake takes {wake:.0f}"
    )


def _bare_wake_us(num_wakes: int) -> float:
    """us at p50 until a sleeping process has read a byte, while this one has been at work."""
    near, far = socket.socketpair()
    if not (child := os.fork()):
        near.close()
        while far.recv(1):
            far.send(time.monotonic_ns().to_bytes(8, "little"))
        os._exit(0)
    far.close()
    delays_us: list[float] = []
    with near:
        for _ in range(num_wakes):
            busy_until_ns = time.monotonic_ns() + _STEP_NS
            while (sent_ns := time.monotonic_ns()) < busy_until_ns:
                pass
            near.send(b"x")
            delays_us.append((int.from_bytes(near.recv(8), "little") - sent_ns) / 1000)
    os.waitpid(child, 0)
    return statistics.median(delays_us)


async def _delays_us(opener: Open, num_requests: int) -> list[float]:
    config = EngineConfig(card=resolve(), device="cpu", num_threads=1)
    params = SamplingParams(1, temperature=0, top_p=1, top_k=0, seed=0)
    delays_us: list[float] = []
    async with opener(config) as client:
        await client.wait_ready()
        for index in range(num_requests):
            prompt = pack_token_ids([index % 250 + 1, 2, 3])
            submit = Submit(str(index), prompt, params, time.monotonic_ns())
            with client.generate(submit) as conversation:
                last = None
                while not isinstance(last, Finished):
                    last = (await conversation.receive())[-1]
                delays_us.append((time.monotonic_ns() - last.timings.last_token_ns) / 1000)
    return delays_us


if __name__ == "__main__":
    main()
