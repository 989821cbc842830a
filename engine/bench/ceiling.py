"""`Ceiling`: what this machine can do, measured: bytes read and operations done in a second.

With torch, since the engine computes with it: another library may reach more. The CUDA path has not
been run on a GPU yet.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_BYTES = 1 << 29
"""Far more than any cache holds."""
_SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
_MIN_S = 0.4


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """The best of several ways, which are named. At the number of threads that torch has."""

    bytes_per_s: float
    bytes_by: str
    operations_per_s: float
    """Multiplications and additions count each."""
    operations_by: str


def measure_ceiling(device: torch.device, dtype: torch.dtype) -> Ceiling:
    """Takes some seconds."""
    with torch.inference_mode():
        rate, way = max(_bandwidths(device, dtype))
        operations, shape = max(_matmuls(device, dtype))
    return Ceiling(bytes_per_s=rate, bytes_by=way, operations_per_s=operations, operations_by=shape)


def _bandwidths(device: torch.device, dtype: torch.dtype) -> list[tuple[float, str]]:
    words = torch.ones(_BUFFER_BYTES // 8, dtype=torch.int64, device=device)
    columns = 4096
    matrix = torch.ones(
        _BUFFER_BYTES // dtype.itemsize // columns, columns, dtype=dtype, device=device
    )
    vector = torch.ones(columns, dtype=dtype, device=device)
    name = str(dtype).removeprefix("torch.")
    return [
        (_BUFFER_BYTES / _best_s(device, words.max), "the largest of many numbers"),
        (
            _BUFFER_BYTES / _best_s(device, lambda: matrix @ vector),
            f"a matrix by a vector, {name}",
        ),
    ]


def _matmuls(device: torch.device, dtype: torch.dtype) -> list[tuple[float, str]]:
    found = []
    for side in _SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = _best_s(device, lambda a=a, b=b: a @ b)  # type: ignore[misc]
        found.append((2 * side**3 / seconds, f"{side} x {side} by {side} x {side}"))
    return found


def _best_s(device: torch.device, work: Callable[[], object]) -> float:
    """The shortest of at least three."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < _MIN_S:
        _synchronise(device)
        began_s = time.perf_counter()
        work()
        _synchronise(device)
        times.append(time.perf_counter() - began_s)
    return min(times)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
