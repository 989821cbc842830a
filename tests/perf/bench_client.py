"""What reading a streamed token costs a worker of `kvorum bench`, on one machine.

    python -m tests.perf.bench_client [--tokens-per-s 5000] [--streams 50] [--seconds 6]

One worker reads from a stub server in another process: `--streams` answers at once, each token in
a chunk of its own, at a steady pace, over HTTP/1.1 and HTTP/2. For each it prints the tokens a
second that came and the share of a core that the worker used, from its start of the clock on.
A share above 0.8 would make a run untrustworthy (`Lateness`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from observability.bench.load.conductor import Conductor
from observability.bench.plan import Protocol, Target
from observability.bench.turn import Session, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Print a line for each protocol."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens-per-s", type=float, default=5000.0)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--protocols", nargs="+", default=["http/1.1", "h2"])
    options = parser.parse_args()
    gap_ms = 1e3 * options.streams / options.tokens_per_s
    num_tokens = max(2, int(options.seconds * 1e3 / gap_ms))
    with _stub(gap_ms) as port:
        for protocol in options.protocols:
            anyio.run(_measure, port, protocol, options.streams, num_tokens)


async def _measure(port: int, protocol: Protocol, num_streams: int, num_tokens: int) -> None:
    target = Target(url=f"http://127.0.0.1:{port}", model="stub", protocol=protocol)
    sessions = [
        Session(index=index, turns=[Turn(text="hello", num_output_tokens=num_tokens)])
        for index in range(num_streams)
    ]
    warmup = [Session(index=-1, turns=[Turn(text="hello", num_output_tokens=2)])]
    async with Conductor(target, sessions, warmup, num_streams) as conductor:
        outcome = await conductor.run()
    num_events = sum(len(one.arrivals_s) for one in outcome.results)
    errors = {one.error for one in outcome.results} - {""}
    rate, share = num_events / outcome.duration_s, outcome.lateness.cpu_share
    print(
        f"{protocol}: {rate:.0f} tokens/s at {share:.2f} of a core, {share / rate * 1e6:.0f} us a "
        f"token; loop p99 {outcome.lateness.loop_p99_ms:.1f} ms, send p99 "
        f"{outcome.lateness.send_p99_ms:.1f} ms{', errors: ' + str(errors) if errors else ''}",
        flush=True,
    )


@contextmanager
def _stub(gap_ms: float) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.observability.bench.stub_server"]
    with subprocess.Popen(
        [*command, "--gap-ms", str(gap_ms)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
