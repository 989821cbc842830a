"""What torch tells of CPU and GPUs, and how a process that asks it can end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from engine.models.registry import resolve
from service.doctor.devices import compute, cpu_flags, cuda
from service.doctor.torch_facts import (
    Gpu,
    ModelQuery,
    Placement,
    ProbeFailed,
    TorchFacts,
    TorchQuery,
    ask,
)

if TYPE_CHECKING:
    from service.doctor.finding import Finding

CPU_ONLY = TorchFacts(
    torch_version="2.13.0+cpu",
    num_threads=2,
    vector_kernels="AVX512",
    transformers_version="5.23.0",
)
WITH_CUDA = msgspec.structs.replace(CPU_ONLY, torch_version="2.13.0", cuda_build="13.0")
H200 = Gpu(
    name="NVIDIA H200",
    total_bytes=140 * 2**30,
    free_bytes=139 * 2**30,
    capability=(9, 0),
    kernels=("sm_80", "sm_90"),
)


def states(facts: TorchFacts, device: str = "auto", flags: str = "") -> dict[str, Finding]:
    """The findings by subject."""
    return {
        finding.subject: finding for finding in compute(facts, frozenset(flags.split()), device)
    }


def test_a_cpu_alone_is_well() -> None:
    found = states(CPU_ONLY, flags="avx2 avx512f amx_bf16")
    assert {finding.state for finding in found.values()} == {"ok"}
    assert "avx2 avx512f amx_bf16" in found["cpu"].text
    assert "nothing for bfloat16" not in found["cpu"].text


def test_a_cpu_without_bfloat16_or_vectors_is_told() -> None:
    found = states(CPU_ONLY, flags="avx2")["cpu"]
    assert "nothing for bfloat16" in found.text
    assert found.state == "ok"
    halved = msgspec.structs.replace(
        CPU_ONLY, placements=(Placement(device="cpu", dtype="bfloat16"),)
    )
    assert states(halved, flags="avx2")["cpu"].state == "note"
    assert states(halved, flags="avx2 avx512_bf16")["cpu"].state == "ok"
    slow = msgspec.structs.replace(CPU_ONLY, vector_kernels="DEFAULT")
    assert states(slow)["cpu"].state == "note"


def test_flags_are_read_of_both_kinds_of_processors() -> None:
    assert cpu_flags("model name\t: x\nflags\t\t: fpu avx2\nflags\t: sse\n") == {"fpu", "avx2"}
    assert cpu_flags("Features\t: asimd bf16\n") == {"asimd", "bf16"}
    assert cpu_flags("") == frozenset()


def test_no_gpu_is_a_problem_only_for_who_asks_for_one() -> None:
    assert states(CPU_ONLY)["cuda"].state == "ok"
    assert states(CPU_ONLY, "cuda:0")["cuda"].state == "problem"
    missing = msgspec.structs.replace(WITH_CUDA, cuda_fault="no NVIDIA driver")
    [found] = cuda(missing, "auto")
    assert found.state == "note"
    assert "no NVIDIA driver" in found.text
    assert "nvidia-smi" in found.remedy


def test_a_gpu_is_told_with_its_memory_and_capability() -> None:
    [found] = cuda(msgspec.structs.replace(WITH_CUDA, gpus=(H200,)), "cuda")
    assert found.state == "ok"
    assert found.text == ("cuda:0 NVIDIA H200, 139.0 GiB of 140.0 GiB free, compute capability 9.0")


@pytest.mark.parametrize(
    ("capability", "kernels", "state"),
    [
        ((8, 6), ("sm_80",), "ok"),  # of its generation, and older
        ((8, 0), ("sm_86",), "problem"),
        ((7, 0), ("sm_80", "sm_90"), "problem"),
        ((12, 0), ("sm_90", "compute_90"), "ok"),
        ((12, 0), ("sm_120",), "ok"),
        ((1, 2), ("sm_120",), "problem"),
        ((9, 0), ("sm_90a",), "ok"),
        ((9, 0), (), "ok"),
    ],
)
def test_a_gpu_for_which_torch_is_not_built_is_a_problem(
    capability: tuple[int, int], kernels: tuple[str, ...], state: str
) -> None:
    gpu = msgspec.structs.replace(H200, capability=capability, kernels=kernels)
    [found] = cuda(msgspec.structs.replace(WITH_CUDA, gpus=(gpu,)), "auto")
    assert found.state == state


def test_torch_and_transformers_that_cannot_be_imported_are_problems() -> None:
    [found] = compute(TorchFacts(torch_fault="ImportError: libcudart"), frozenset(), "auto")
    assert (found.subject, found.state) == ("torch", "problem")
    broken = msgspec.structs.replace(CPU_ONLY, transformers_fault="ImportError: no")
    assert states(broken)["transformers"].state == "problem"


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_real_ones_are_asked_in_a_process_of_their_own() -> None:
    card = resolve()
    foreign = msgspec.structs.replace(card, architecture="FooForCausalLM")
    query = TorchQuery("cpu", (ModelQuery(card, "auto"), ModelQuery(foreign, "auto")))
    facts = ask(query, {})
    assert facts.torch_version
    assert facts.transformers_version
    assert facts.num_threads >= 1
    first, second = facts.placements
    assert (first.fault, first.device, first.dtype) == ("", "cpu", "float32")
    assert first.weight_bytes == 2 * card.size_bytes
    assert first.free_bytes > 0
    assert "FooForCausalLM" in second.fault


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import os; os.kill(os.getpid(), 4)", "SIGILL"),
        ("raise SystemExit('no disk')", "no disk"),
        ("print('{}garbage')", "ends with 0"),
    ],
)
def test_a_process_that_dies_is_told_by_how_it_ended(
    program: str,
    expected: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "dying.py").write_text(program)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("service.doctor.torch_facts._PROGRAM", "dying")
    with pytest.raises(ProbeFailed, match=expected):
        ask(TorchQuery("auto"), {})
