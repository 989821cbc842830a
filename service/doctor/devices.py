"""What computes: torch, the CPU's instructions, CUDA, transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.doctor.finding import Finding, note, ok, problem
from service.models_table import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.doctor.torch_facts import Gpu, TorchFacts

_REINSTALL = "install it again: pip install --force-reinstall"
_BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
_SHOWN_FLAGS = ("avx2", "avx512f", "avx512_vnni", "amx_tile", *_BFLOAT16)


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The instructions of the first processor, by the kernel's names (x86 and ARM)."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def compute(facts: TorchFacts, flags: frozenset[str], wanted_device: str) -> Iterator[Finding]:
    """Everything of this module; `wanted_device` is the setting."""
    if facts.torch_fault:
        yield problem("torch", f"it cannot be imported: {facts.torch_fault}", f"{_REINSTALL} torch")
        return
    build = f"CUDA {facts.cuda_build}" if facts.cuda_build else "CPU only"
    yield ok("torch", f"{facts.torch_version} ({build}), {facts.num_threads} CPU threads")
    yield cpu(facts, flags)
    yield from cuda(facts, wanted_device)
    if facts.transformers_fault:
        fault = f"it cannot be used: {facts.transformers_fault}"
        yield problem("transformers", fault, f"{_REINSTALL} transformers")
    else:
        yield ok("transformers", facts.transformers_version)


def cpu(facts: TorchFacts, flags: frozenset[str]) -> Finding:
    """What arithmetic on the CPU can use."""
    text = f"torch computes with {facts.vector_kernels}"
    shown = [flag for flag in _SHOWN_FLAGS if flag in flags]
    if shown:
        text += f"; the CPU has {' '.join(shown)}"
    if facts.vector_kernels in ("DEFAULT", "NO AVX"):
        return note("cpu", f"{text}: no vector instructions, so all is slow")
    if flags and not flags.intersection(_BFLOAT16):
        text += "; nothing for bfloat16, which saves memory here and costs time"
        if any(place.device == "cpu" and place.dtype == "bfloat16" for place in facts.placements):
            remedy = "--dtype float32, if there is memory for it"
            return note("cpu", f"{text}; it is chosen", remedy)
    return ok("cpu", text)


def cuda(facts: TorchFacts, wanted_device: str) -> Iterator[Finding]:
    """Each GPU, or why there is none: a problem if one is asked for."""
    for index, gpu in enumerate(facts.gpus):
        yield _gpu(index, gpu)
    if facts.gpus:
        return
    if facts.cuda_build:
        why = facts.cuda_fault or "torch sees no device"
        remedy = "look what `nvidia-smi` says: driver, CUDA_VISIBLE_DEVICES, the container's --gpus"
    else:
        why = f"torch {facts.torch_version} is built without it"
        remedy = (
            "for an NVIDIA GPU install torch with CUDA: https://pytorch.org/get-started/locally"
        )
    if wanted_device.startswith("cuda"):
        yield problem("cuda", f"none, and --device {wanted_device} asks for it: {why}", remedy)
    elif facts.cuda_build:
        yield note("cuda", f"none: {why}", remedy)
    else:
        yield ok("cuda", f"none: {why}; the CPU computes")


def _gpu(index: int, gpu: Gpu) -> Finding:
    major, minor = gpu.capability
    text = (
        f"cuda:{index} {gpu.name}, {size_text(gpu.free_bytes)} of {size_text(gpu.total_bytes)} free, "
        f"compute capability {major}.{minor}"
    )
    # A kernel runs on its own generation from its minor version on; compute_* is built on the spot.
    is_built_for = any(
        kernel.startswith(f"sm_{major}")
        and kernel[3 + len(str(major)) :].rstrip("af") <= str(minor)
        for kernel in gpu.kernels
    ) or any(kernel.startswith("compute_") for kernel in gpu.kernels)
    if gpu.kernels and not is_built_for:
        built = " ".join(gpu.kernels)
        return problem(
            "cuda", f"{text}, for which this torch is not built ({built})", "install another torch"
        )
    return ok("cuda", text)
