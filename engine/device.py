"""The device: its one thread, the choice of where and in which precision, and its memory."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
import torch

from engine.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

Result = TypeVar("Result")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_SMALL_MODEL_BYTES = 1 << 26

_MODEST_CACHE_BYTES = 1 << 28
"""On a CPU the cache is main memory that others want too: a modest default, a setting for more."""


class Device(Protocol):
    """Where the actor's blocking work is done."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work()`, which runs to its end whatever becomes of the caller."""
        ...


class DeviceThread:
    """All torch work of an engine happens on this one thread.

    Inference mode, the CUDA device and stream and OpenMP's pool belong to a thread, so a shared
    pool would lose them from call to call.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "engine-device")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown()

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work()`. A cancelled caller still waits for its end: what runs on a
        device cannot be abandoned, so `work` must be bounded (one step, one load)."""
        done = asyncio.get_running_loop().run_in_executor(self._executor, _contained(work))
        with anyio.CancelScope(shield=True):
            await asyncio.wait([done])
        return done.result()


def _contained(work: Callable[[], Result]) -> Callable[[], Result]:
    """`work`, whose SystemExit or panic must not end the event loop's thread as its own would."""

    def run() -> Result:
        try:
            return work()
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"the device thread met {type(error).__name__}") from error

    return run


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA if there is one.

    Raises:
        StartupError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise StartupError(
            f"There is no device '{name}'. Use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise StartupError(
            f"Device '{name}' was asked for, but torch sees {torch.cuda.device_count()} CUDA "
            "devices. Use --device cpu, or install torch with CUDA and its driver."
        )
    if device.type not in ("cpu", "cuda"):
        raise StartupError(f"Device '{name}' is not supported. Use auto, cpu, cuda or cuda:N.")
    return device


def choose_dtype(
    name: str, stored: str, device: torch.device, num_weight_bytes: int
) -> torch.dtype:
    """The precision called `name`, for weights stored as `stored`.

    "auto" on a CPU is float32 for small models, for which it is fast and exact, and the stored
    precision above 2 GB of weights or on CUDA (float16 becomes bfloat16 on a CPU).

    Raises:
        StartupError: the name is unknown.
    """
    if name != "auto":
        if name not in _DTYPES:
            raise StartupError(f"Unknown dtype '{name}'. Use auto, {', '.join(_DTYPES)}.")
        return _DTYPES[name]
    dtype = _DTYPES.get(stored, torch.float32)
    if device.type == "cuda":
        return dtype
    if num_weight_bytes < 2 << 30:
        return torch.float32
    return torch.bfloat16 if dtype is torch.float16 else dtype


def cache_budget_bytes(device: torch.device, num_context_bytes: int) -> int:
    """Memory that the KV cache may take: what a GPU has left; on a CPU a modest amount, or two
    sequences of full length (`num_context_bytes` each) if that is more, as far as there is room."""
    if device.type == "cuda":
        return free_bytes(device) * 85 // 100
    wanted = max(_MODEST_CACHE_BYTES, 2 * num_context_bytes)
    return min(free_bytes(device) * 30 // 100, wanted)


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU, or of the machine without swapping, that can be had now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def release_memory() -> None:
    """Give back to the machine what a model has left behind, after the last reference to it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc keeps freed memory for itself unless asked
        ctypes.CDLL(None).malloc_trim(0)


def set_num_threads(count: int, num_weight_bytes: int) -> None:
    """Threads for CPU arithmetic. 0 is one for a small model, whose operations end before a second
    thread has woken up, and else torch's own choice (one a physical core)."""
    if not count and num_weight_bytes < _SMALL_MODEL_BYTES:
        count = 1
    if count:
        torch.set_num_threads(count)
