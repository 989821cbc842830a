"""Runs one cell: a fresh server, streams until all have begun, a warm-up, then the window."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.perf.gateway.bare_app import BareRun
from tests.perf.gateway.cadence import Cadence
from tests.perf.gateway.cell import Cell, Result
from tests.perf.gateway.errors import CellFailed
from tests.perf.gateway.load import Load
from tests.perf.gateway.server_process import ROOT, ServerProcess
from tests.perf.gateway.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_MAX_OPEN_S = 12.0
_MAX_QUIET_S = 6.0
_MAX_BARE_S = 30.0
_NUM_WARM_UP_STREAMS = 20


class Timing(msgspec.Struct, frozen=True):
    """How long a cell warms up, and how long it counts."""

    warm_up_s: float
    window_s: float


class _Edge(msgspec.Struct):
    """The counters at one end of a window."""

    server_s: float
    client_s: float
    machine_s: float
    num_tokens: int
    at_s: float


def measure(cell: Cell, timing: Timing, certificate: Sequence[str]) -> Result:
    """The result of one round. A cell that cannot be run has a result that says so."""
    gc.collect()  # ours, of the last cell; not in the middle of this one
    try:
        if cell.server == "none":
            return _measure_bare(cell, timing)
        with ServerProcess(cell.server, certificate if cell.wiring == "h2 tls" else ()) as server:
            if cell.kind == "memory":
                return _measure_memory(cell, server)
            return _measure_tokens(cell, timing, server)
    except (CellFailed, OSError, subprocess.TimeoutExpired) as error:
        return Result(cell=cell, cut=str(error) or type(error).__name__)


def _measure_tokens(cell: Cell, timing: Timing, server: ServerProcess) -> Result:
    is_stamped = cell.kind == "delay"
    cadences = [
        Cadence(round(1e6 / cell.rate), is_stamped, cell.num_phases, index % cell.num_phases)
        for index in range(cell.num_streams)
    ]
    with Load(server, is_stamped=is_stamped) as load:
        _open(cell, load, cadences)
        load.run_until(lambda: _is_decided(cell, load), _MAX_OPEN_S)
        if load.num_failed > cell.num_streams // 2:
            raise CellFailed(f"{load.num_failed} of {cell.num_streams} streams failed at once")
        num_begun = load.num_begun
        load.run_for(timing.warm_up_s)
        load.run_to_gap(1 / cell.rate)
        load.meter.forget_delays()
        load.lags_ms.clear()
        start = _edge(load, server)
        load.run_for(timing.window_s)
        load.run_to_gap(1 / cell.rate)
        end = _edge(load, server)
        result = _result(cell, start, end)
        result.num_begun, result.num_failed = num_begun, load.num_failed
        if is_stamped:
            result.delays_ms = _percentiles(load.meter.delays_ms())
        result.lags_ms = _percentiles(load.lags_ms)
    result.cut = _why_cut(result, is_alive=server.is_alive)
    return result


def _is_decided(cell: Cell, load: Load) -> bool:
    """All streams have begun or failed, or so many have failed that the rest says nothing."""
    is_complete = load.num_begun + load.num_failed >= cell.num_streams
    return is_complete or load.num_failed > cell.num_streams // 2


def _measure_bare(cell: Cell, timing: Timing) -> Result:
    period_us = round(1e6 / cell.rate)
    numbers = (cell.num_streams, cell.num_phases, period_us, timing.warm_up_s, timing.window_s)
    done = subprocess.run(
        [sys.executable, "-m", "tests.perf.gateway.bare_app", *map(str, numbers)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=_MAX_BARE_S,
    )
    if done.returncode:
        raise CellFailed("the application failed")
    run = msgspec.json.decode(done.stdout, type=BareRun)
    result = Result(
        cell=cell,
        num_begun=cell.num_streams,
        window_s=run.window_s,
        num_tokens=run.num_tokens,
        server_us_per_token=1e6 * run.cpu_s / run.num_tokens if run.num_tokens else 0.0,
        server_cpu=run.cpu_s / run.window_s,
    )
    result.cut = _why_cut(result, is_alive=True)
    return result


def _open(cell: Cell, load: Load, cadences: Sequence[Cadence]) -> None:
    if cell.wiring == "http/1.1":
        load.open_http1(cadences)
    else:
        load.open_http2(cadences, cell.num_connections)


def _measure_memory(cell: Cell, server: ServerProcess) -> Result:
    """Streams that wait in the engine's queue. A few before them bring in what is loaded once."""
    with Load(server) as load:
        warm_up = msgspec.structs.replace(cell, num_streams=_NUM_WARM_UP_STREAMS, num_connections=1)
        _open(warm_up, load, [Cadence(0)] * _NUM_WARM_UP_STREAMS)
        load.run_for(0.5)
        is_quiet = server.wait_quiet(_MAX_QUIET_S)
        before = server.rss_bytes()
        _open(cell, load, [Cadence(0)] * cell.num_streams)
        load.run_for(1.0)
        is_quiet = server.wait_quiet(_MAX_QUIET_S) and is_quiet
        load.run_for(0.1)
        grown = server.rss_bytes() - before
        cut = "" if is_quiet else "the server did not come to rest"
        cut = f"{load.num_failed} streams failed" if load.num_failed else cut
        return Result(
            cell=cell,
            cut=cut,
            num_failed=load.num_failed,
            kb_per_stream=grown / cell.num_streams / 1000,
        )


def _edge(load: Load, server: ServerProcess) -> _Edge:
    busy = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = busy[3] + busy[4]  # idle, iowait; the guests' fields are contained in others
    return _Edge(
        server_s=server.cpu_s(),
        client_s=time.process_time(),
        machine_s=(sum(busy[:8]) - idle) / _TICKS_A_SECOND,
        num_tokens=load.meter.num_tokens,
        at_s=time.monotonic(),
    )


def _result(cell: Cell, start: _Edge, end: _Edge) -> Result:
    window_s = end.at_s - start.at_s
    num_tokens = end.num_tokens - start.num_tokens
    server_s, client_s = end.server_s - start.server_s, end.client_s - start.client_s
    others_s = end.machine_s - start.machine_s - server_s - client_s
    return Result(
        cell=cell,
        window_s=window_s,
        num_tokens=num_tokens,
        server_us_per_token=1e6 * server_s / num_tokens if num_tokens else 0.0,
        server_cpu=server_s / window_s,
        client_cpu=client_s / window_s,
        other_cpu=max(0.0, others_s / window_s),
    )


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {name: percentile(ordered, at) for name, at in (("p50", 50), ("p99", 99), ("max", 100))}


def _why_cut(result: Result, *, is_alive: bool) -> str:
    """Why the figures of a cell do not mean what they should; "" if they do."""
    cell = result.cell
    if not is_alive:
        return "the server died"
    if result.num_failed:
        return f"{result.num_failed} of {cell.num_streams} streams failed"
    if result.num_begun < cell.num_streams:
        return f"{result.num_begun} of {cell.num_streams} streams had begun after {_MAX_OPEN_S:g} s"
    if result.share_delivered < 0.95:
        return f"overloaded: {result.share_delivered:.0%} of the tokens were delivered"
    return ""
