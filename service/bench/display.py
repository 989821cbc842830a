"""Live progress of a measurement on the terminal; nothing where there is none."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from tqdm import tqdm

from observability.bench.beside import beside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from observability.bench.measurement import Measurement

_PERIOD_S = 0.25


@asynccontextmanager
async def shown(measurement: Measurement, title: str) -> AsyncIterator[None]:
    """A line that tells how far it is, as long as the block lasts. Ctrl-C ends the measurement with
    what it has; a second one ends the program."""
    bar = tqdm(total=measurement.num_turns, desc=title, disable=None, unit="request")
    with bar:
        async with beside(
            partial(_follow, bar, measurement), partial(_stop_at_signal, measurement)
        ):
            yield
            _refresh(bar, measurement)


async def _follow(bar: tqdm[None], measurement: Measurement) -> None:
    while True:
        _refresh(bar, measurement)
        await anyio.sleep(_PERIOD_S)


async def _stop_at_signal(measurement: Measurement) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            measurement.stop()
            break
    # Left again, the signal interrupts as it always does.


def _refresh(bar: tqdm[None], measurement: Measurement) -> None:
    progress = measurement.progress
    if bar.disable or progress is None:
        return
    rate = progress.num_events / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
    failed = f", {progress.num_failed} FAILED" if progress.num_failed else ""
    bar.n = min(progress.num_done, bar.total)
    bar.set_postfix_str(f"{progress.num_running} running, {rate:.0f} events/s{failed}")
