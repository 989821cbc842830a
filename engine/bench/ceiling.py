"""`Ceiling`: what this machine can do, measured: bytes read and operations done in a second.

With torch, since the engine computes with it: another library may reach more. The CUDA path has not
been run on a GPU yet.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_BYTES = 1 << 29
"""Far more than any cache holds."""
_COLUMNS = 4096
_SHAPES = {
    "cpu": ((1024, 1024, 1024), (1024, 2048, 2048)),
    "cuda": ((4096, 4096, 4096), (8192, 8192, 8192)),
}
"""Tokens, numbers in, numbers out."""
_CALLS = {"cpu": 1, "cuda": 16}
"""Between two looks at the clock: waiting for a GPU takes some of what reading the buffer takes."""
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
    # As any smaller dtype these bits are ordinary numbers too: denormal ones would be slow.
    ones = torch.ones(_BUFFER_BYTES // 4, device=device)
    found = [
        (_BUFFER_BYTES / _best_s(device, ones.view(torch.int64).sum), "the sum of many integers")
    ]
    for kind in {torch.float32, dtype}:  # where a dtype is slow to compute with it reads slowly
        matrix = ones.view(kind).view(-1, _COLUMNS)
        vector = torch.ones(_COLUMNS, dtype=kind, device=device)
        seconds = _best_s(device, lambda m=matrix, v=vector: m @ v)  # type: ignore[misc]
        found.append((_BUFFER_BYTES / seconds, f"a matrix by a vector, {_name(kind)}"))
    return found


def _matmuls(device: torch.device, dtype: torch.dtype) -> list[tuple[float, str]]:
    """As layers lay their weights: bfloat16 the other way round took 30 times as long on a CPU."""
    found = []
    for tokens, numbers_in, numbers_out in _SHAPES[device.type]:
        inputs = torch.randn(tokens, numbers_in, device=device).to(dtype)
        weights = torch.randn(numbers_out, numbers_in, device=device).to(dtype)
        seconds = _best_s(device, lambda i=inputs, w=weights: linear(i, w))  # type: ignore[misc]
        shape = f"{tokens} x {numbers_in} by {numbers_in} x {numbers_out}, {_name(dtype)}"
        found.append((2 * tokens * numbers_in * numbers_out / seconds, shape))
    return found


def _best_s(device: torch.device, work: Callable[[], object]) -> float:
    """Of a call, the shortest of at least three."""
    num_calls = _CALLS[device.type]
    times: list[float] = []
    while len(times) < 3 or sum(times) < _MIN_S:
        _synchronise(device)
        began_s = time.perf_counter()
        for _ in range(num_calls):
            work()
        _synchronise(device)
        times.append(time.perf_counter() - began_s)
    return min(times) / num_calls


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
