"""Replays request traces through scheduler and prefix cache, without a model.

    python -m tests.perf.replay TRACE... [--scale 16] [--json FILE] [--write-docs]
    python -m tests.perf.replay --from FILE --write-docs      from a stored run, without running

The last line of the output is the result. docs/prefix-cache.md says what is counted.

The traces are public: Mooncake's conversation_trace.jsonl in FAST25-release/traces of
github.com/kvcache-ai/Mooncake (Apache-2.0), Azure's AzureLLMInferenceTrace_conv.csv in data of
github.com/Azure/AzurePublicDataset (CC-BY 4.0).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observability.bench.workload.trace import read_trace
from tests.perf.replay.page import size_text, verdict, write_docs
from tests.perf.replay.replay import Speed, replay, smallest_cache_tokens
from tests.perf.replay.run_record import ReplayRecord

if TYPE_CHECKING:
    from observability.bench.workload.trace import Trace
    from tests.perf.replay.replay import ReplayResult

_NUM_SIZES_WITHOUT_CONTENT = 3


def main(argv: list[str]) -> int:
    """The exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if bool(options.trace) == bool(options.stored):
        parser.error("name a trace to replay, or --from a stored run")
    if options.stored:
        record = msgspec.json.decode(options.stored.read_bytes(), type=ReplayRecord)
    else:
        record = _run(options)
    if options.json:
        encoded = msgspec.json.format(msgspec.json.encode(record), indent=1)
        options.json.write_bytes(encoded + b"\n")
    if options.write_docs:
        reason = record.why_not_publishable()
        if reason:
            print(f"docs/prefix-cache.md stays as it is: {reason}.")
            return 1
        write_docs(record)
    print(verdict(record))
    return 0


def _parser() -> argparse.ArgumentParser:
    usual = Speed()
    parser = argparse.ArgumentParser(
        prog="python -m tests.perf.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("trace", type=Path, nargs="*", help=".jsonl of Mooncake, .csv of Azure")
    parser.add_argument("--from", dest="stored", type=Path, metavar="FILE", help="a stored run")
    parser.add_argument("--requests", type=int, metavar="N", help="only the first N of a trace")
    parser.add_argument(
        "--scale",
        type=int,
        default=1,
        help="one token for so many, a divisor of 512: with 16 it runs 17 times faster",
    )
    parser.add_argument("--block-size", type=int, default=16, help="tokens of a cache block")
    parser.add_argument(
        "--cache-tokens",
        type=int,
        nargs="+",
        metavar="N",
        help="sizes of the cache in tokens of the trace, 0 for no bound; usually powers of two from "
        "the smallest that holds the longest request, then no bound",
    )
    parser.add_argument("--step-ms", type=float, default=usual.step_ms)
    parser.add_argument("--tokens-per-s", type=float, default=usual.tokens_per_s)
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the results")
    parser.add_argument(
        "--write-docs", action="store_true", help="fill docs/prefix-cache.md and draw its picture"
    )
    return parser


def _run(options: argparse.Namespace) -> ReplayRecord:
    record = ReplayRecord.begin()
    speed = Speed(step_ms=options.step_ms, tokens_per_s=options.tokens_per_s)
    for path in options.trace:
        trace = read_trace(path, options.requests)
        if options.scale > 1:
            trace = trace.scaled(options.scale)
        sizes = [n or None for n in options.cache_tokens or []] or _usual_sizes(trace)
        for cache_tokens in sizes:
            result = replay(
                trace, block_size=options.block_size, cache_tokens=cache_tokens, speed=speed
            )
            record.results.append(result)
            print(_said(result), flush=True)
    return record


def _usual_sizes(trace: Trace) -> list[int | None]:
    """Powers of two; only a few of them where the content, and so the cache, plays no part."""
    sizes: list[int | None] = []
    size = smallest_cache_tokens(trace)
    while size < (trace.num_prompt_tokens + trace.num_output_tokens) * trace.scale:
        sizes.append(size)
        size *= 2
    if not trace.has_content:
        sizes = sizes[:_NUM_SIZES_WITHOUT_CONTENT]
    return [*sizes, None]


def _said(one: ReplayResult) -> str:
    return (
        f"{one.trace}, {size_text(one)}: hit {one.hit_rate:.2%} (LRU {one.lru_rate:.2%}, oracle "
        f"{one.oracle_rate:.2%}), {one.num_finished} of {one.num_requests} requests in {one.virtual_s:.0f} "
        f"virtual s, {one.mean_running:.1f} running, {one.num_preemptions} preemptions; "
        f"{one.num_steps} steps in {one.wall_s:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
