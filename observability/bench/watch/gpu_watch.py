"""`GpuWatch`: utilization, memory and power of this machine's NVIDIA GPUs beside the load.

Of all GPUs, and of whoever uses them. Series "gpu0.utilization" (0 to 1: the share of time with a
kernel running), "gpu0.memory_bytes", "gpu0.power_w". By NVML if the package nvidia-ml-py is there,
else by nvidia-smi as a child process, else nothing.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from observability.bench.watch.watch_log import WatchLog

_QUERY = "index,utilization.gpu,memory.used,power.draw"
SMI_COMMAND = (
    *("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"),
    *("--loop-ms", "1000"),
)
_MAX_LINE = 1000


class GpuWatch:
    """`period_s` is NVML's; nvidia-smi's is in the command."""

    def __init__(
        self,
        log: WatchLog,
        *,
        period_s: float = 0.5,
        nvml: Nvml | None = None,
        smi_command: Sequence[str] = SMI_COMMAND,
    ) -> None:
        self._log = log
        self._period_s = period_s
        self._nvml = nvml
        self._smi_command = smi_command

    async def watch(self) -> None:
        """Until it is cancelled; ends at once if there is nothing to be seen."""
        nvml = self._nvml or await anyio.to_thread.run_sync(open_nvml)
        if nvml is None:
            await self._watch_smi()
            return
        try:
            while True:
                begun_s = time.monotonic()
                self._log.add(await anyio.to_thread.run_sync(nvml.read))
                await anyio.sleep(max(0.0, begun_s + self._period_s - time.monotonic()))
        finally:
            nvml.close()

    async def _watch_smi(self) -> None:
        try:
            process = await anyio.open_process(
                list(self._smi_command), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError:
            return
        async with process:
            assert process.stdout is not None
            lines = BufferedByteReceiveStream(process.stdout)
            try:
                while True:
                    line = await lines.receive_until(b"\n", _MAX_LINE)
                    self._log.add(values_of(line.decode("utf-8", "replace")))
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
                return  # It has ended, or says something else.


class Nvml:
    """NVML, as the package `pynvml` gives it. What a GPU does not tell is left out."""

    def __init__(self, pynvml: Any) -> None:
        """Raises `pynvml.NVMLError` if there is no driver."""
        self._pynvml = pynvml
        pynvml.nvmlInit()
        self._gpus = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]

    def read(self) -> dict[str, float]:
        """Of this moment; blocks for some milliseconds."""
        nvml = self._pynvml
        return {
            f"gpu{index}.{name}": value
            for index, gpu in enumerate(self._gpus)
            for name, value in self._known(
                ("utilization", lambda it: nvml.nvmlDeviceGetUtilizationRates(it).gpu / 100, gpu),
                ("memory_bytes", lambda it: nvml.nvmlDeviceGetMemoryInfo(it).used, gpu),
                ("power_w", lambda it: nvml.nvmlDeviceGetPowerUsage(it) / 1000, gpu),
            )
        }

    def close(self) -> None:
        """Once."""
        self._pynvml.nvmlShutdown()

    def _known(
        self, *questions: tuple[str, Callable[[Any], float], Any]
    ) -> Iterable[tuple[str, float]]:
        for name, ask, gpu in questions:
            try:
                yield name, float(ask(gpu))
            except self._pynvml.NVMLError:
                continue


def open_nvml() -> Nvml | None:
    """None without the package, a driver or a GPU."""
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        return Nvml(pynvml)
    except pynvml.NVMLError:
        return None


def values_of(line: str) -> dict[str, float]:
    """From a line of nvidia-smi: index, per cent, MiB, watts; "[N/A]" is left out."""
    index, *cells = (cell.strip() for cell in line.split(","))
    names = {"utilization": 0.01, "memory_bytes": 2.0**20, "power_w": 1.0}
    if not index.isdecimal() or len(cells) != len(names):
        return {}
    values = {
        f"gpu{index}.{name}": _number(cell) * factor
        for (name, factor), cell in zip(names.items(), cells, strict=True)
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
