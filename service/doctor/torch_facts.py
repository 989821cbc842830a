"""What torch and transformers say of this machine, asked in a process of its own.

The service never imports them, and a broken wheel can end a process that does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from engine.models.card import ModelCard

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAM = "service.doctor.torch_probe"
_TIMEOUT_S = 180.0  # a first import from a slow disk
_MAX_REASON_CHARS = 300


class ModelQuery(msgspec.Struct, frozen=True):
    """A model and the setting of its precision."""

    card: ModelCard
    dtype: str


class TorchQuery(msgspec.Struct, frozen=True):
    """What is asked; `device` is the setting."""

    device: str
    models: tuple[ModelQuery, ...] = ()


class Gpu(msgspec.Struct, frozen=True):
    """One CUDA device; `kernels` are the architectures for which torch was built."""

    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]
    kernels: tuple[str, ...]


class Placement(msgspec.Struct, frozen=True):
    """Where a model's weights would go, or why they cannot. `weight_bytes` as they are loaded."""

    fault: str = ""
    device: str = ""
    dtype: str = ""
    weight_bytes: int = 0
    free_bytes: int = 0


class TorchFacts(msgspec.Struct, frozen=True):
    """`torch_fault` and `transformers_fault` are why an import fails; then the rest is empty."""

    torch_version: str = ""
    torch_fault: str = ""
    num_threads: int = 0
    vector_kernels: str = ""
    cuda_build: str = ""
    cuda_fault: str = ""
    gpus: tuple[Gpu, ...] = ()
    transformers_version: str = ""
    transformers_fault: str = ""
    placements: tuple[Placement, ...] = ()


class ProbeFailed(Exception):
    """The process has told nothing; the text says how it ended."""


def ask(query: TorchQuery, environ: Mapping[str, str]) -> TorchFacts:
    """Start the process and wait for what it tells. Raises `ProbeFailed`."""
    # It must find the packages that this process finds, and nothing of the folder it starts in.
    environment = {**environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _PROGRAM],
            input=msgspec.json.encode(query),
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProbeFailed(f"they are not imported within {_TIMEOUT_S:.0f} s") from None
    try:
        return msgspec.json.decode(done.stdout.rpartition(b"\n")[2], type=TorchFacts)
    except msgspec.DecodeError:
        raise ProbeFailed(_end_of(done)) from None


def _end_of(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = lines[-1][:_MAX_REASON_CHARS] if lines else ""
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"a process that imports them is ended by {name}. {reason}".strip()
    return reason or f"a process that imports them ends with {done.returncode}"
