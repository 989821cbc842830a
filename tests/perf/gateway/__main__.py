"""The gateway benchmark: what a streamed token costs between the engine and the socket.

    python -m tests.perf.gateway [--quick] [--json FILE] [--write-docs]
    python -m tests.perf.gateway --write-docs FROM.json      from a stored run, without running

The last line of the output is the result. docs/performance.md says how it is measured.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.perf.gateway.certificate import make_certificate
from tests.perf.gateway.measurement import measure
from tests.perf.gateway.page import write_docs
from tests.perf.gateway.plan import FULL, HEADLINE_ROUNDS, QUICK, full_plan, in_order, quick_plan
from tests.perf.gateway.run_record import RunRecord
from tests.perf.gateway.summary import Verdict, summarize

if TYPE_CHECKING:
    from tests.perf.gateway.cell import Cell, Result

_MAX_RUN_S = 540.0
_USUAL_CELL_S = 5.0
_RUN_FIRST = "run"


def main(argv: list[str]) -> int:
    """The exit code."""
    arguments = _parse(argv)
    if not sys.platform.startswith("linux"):
        print("The benchmark reads Linux's clocks and /proc: it runs on Linux only.")
        return 2
    if arguments.write_docs not in (None, _RUN_FIRST):
        record = msgspec.json.decode(Path(arguments.write_docs).read_bytes(), type=RunRecord)
    else:
        record = _run(is_quick=arguments.quick)
    if arguments.json:
        encoded = msgspec.json.format(msgspec.json.encode(record), indent=1)
        arguments.json.write_bytes(encoded + b"\n")
    reason = record.why_not_publishable()
    if arguments.write_docs:
        if reason:
            print(f"docs/performance.md stays as it is: {reason}.")
            return 1
        write_docs(record)
    note = f" (not for publication: {reason})" if reason else ""
    print(Verdict.of(summarize(record.results)).line() + note)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench-gateway", description="Measure what a streamed token costs in the gateway."
    )
    parser.add_argument("--quick", action="store_true", help="one short round of a few cells")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the run's raw results")
    parser.add_argument(
        "--write-docs",
        nargs="?",
        const=_RUN_FIRST,
        metavar="FROM.json",
        help="fill docs/performance.md and its picture, from a stored run if one is named",
    )
    return parser.parse_args(argv)


def _run(*, is_quick: bool) -> RunRecord:
    _raise_file_limit()
    record = RunRecord.begin(is_quick=is_quick)
    cells, timing = (quick_plan(), QUICK) if is_quick else (full_plan(), FULL)
    order = list(in_order(cells))
    print(
        f"{len(order)} measurements of {len(cells)} cells, {'one minute' if is_quick else 'nine minutes'}"
        f" at most; load average {record.load_average_before:.1f}",
        flush=True,
    )
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder))
        for index, (number, cell) in enumerate(order):
            if not _has_time(start, cell, [later for _, later in order[index:]]):
                print(f"no time left for round {number + 1} of: {cell}", flush=True)
                continue
            result = measure(cell, timing, certificate)
            record.results.append(result)
            place = f"[{time.monotonic() - start:3.0f} s, {index + 1}/{len(order)}]"
            print(f"{place} {cell}: {_said(result)}", flush=True)
    record.duration_s = time.monotonic() - start
    return record


def _has_time(start: float, cell: Cell, left: list[Cell]) -> bool:
    """The headline is always measured in full; the others give way on a slow machine."""
    if cell.rounds == HEADLINE_ROUNDS:
        return True
    num_headline = sum(one.rounds == HEADLINE_ROUNDS for one in left)
    return time.monotonic() - start + (num_headline + 1) * _USUAL_CELL_S < _MAX_RUN_S


def _said(result: Result) -> str:
    texts = []
    if result.num_tokens:
        texts.append(f"{result.server_us_per_token:.1f} us/token")
        texts.append(f"server {result.server_cpu:.0%}, client {result.client_cpu:.0%} of a core")
    if result.delays_ms:
        texts.append(
            f"delay p50 {result.delays_ms['p50']:.1f}, p99 {result.delays_ms['p99']:.1f} ms"
        )
        texts.append(f"client lag p99 {result.lags_ms['p99']:.1f} ms")
    if result.kb_per_stream:
        texts.append(f"{result.kb_per_stream:.1f} kB/stream")
    if result.cut:
        texts.append(f"CUT: {result.cut}")
    return "; ".join(texts)


def _raise_file_limit() -> None:
    """A thousand connections need more than a shell's usual 1024 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
