"""Runs beside the doctor: imports torch and transformers, and tells what they say.

python -m service.doctor.torch_probe < query    the last line is the answer, in JSON
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from service.doctor.torch_facts import Gpu, Placement, TorchFacts, TorchQuery

if TYPE_CHECKING:
    from service.doctor.torch_facts import ModelQuery


def main() -> int:
    """Answer the query on stdin; the exit code."""
    query = msgspec.json.decode(sys.stdin.buffer.read(), type=TorchQuery)
    answer = msgspec.json.encode(facts_of(query))
    sys.stdout.buffer.write(b"\n" + answer)
    return 0


def facts_of(query: TorchQuery) -> TorchFacts:
    """Never raises: what fails is a fact."""
    try:
        torch: Any = importlib.import_module("torch")
    except Exception as error:
        return TorchFacts(torch_fault=_reason(error))
    gpus, cuda_fault = _gpus(torch)
    facts = TorchFacts(
        torch_version=str(torch.__version__),
        num_threads=torch.get_num_threads(),
        vector_kernels=torch.backends.cpu.get_cpu_capability(),
        cuda_build=torch.version.cuda or "",
        gpus=gpus,
        cuda_fault=cuda_fault,
    )
    try:
        transformers: Any = importlib.import_module("transformers")
        placements = tuple(_place(transformers, query.device, model) for model in query.models)
    except Exception as error:
        return msgspec.structs.replace(facts, transformers_fault=_reason(error))
    return msgspec.structs.replace(
        facts, transformers_version=str(transformers.__version__), placements=placements
    )


def _gpus(torch: Any) -> tuple[tuple[Gpu, ...], str]:
    """The devices that can be used, and why there are none."""
    if torch.version.cuda is None:
        return (), ""
    try:
        torch.cuda.init()
        return tuple(_gpu(torch, index) for index in range(torch.cuda.device_count())), ""
    except Exception as error:
        return (), _reason(error)


def _gpu(torch: Any, index: int) -> Gpu:
    properties = torch.cuda.get_device_properties(index)
    return Gpu(
        name=properties.name,
        total_bytes=properties.total_memory,
        free_bytes=torch.cuda.mem_get_info(index)[0],
        capability=(properties.major, properties.minor),
        kernels=tuple(torch.cuda.get_arch_list()),
    )


def _place(transformers: Any, device_name: str, model: ModelQuery) -> Placement:
    """As the engine does before it loads."""
    from engine.device import choose_device, choose_dtype, free_bytes
    from engine.errors import StartupError
    from engine.models.quantized import check_method, loaded_bytes

    card = model.card
    try:
        if not hasattr(transformers, card.architecture):
            version = transformers.__version__
            return Placement(
                fault=f"transformers {version} has no {card.architecture}, and code that comes with "
                "a model is never run; take another model"
            )
        check_method(card)
        device = choose_device(device_name)
        size_bytes = loaded_bytes(card)
        dtype = choose_dtype(model.dtype, card.dtype, device, size_bytes)
    except StartupError as error:
        return Placement(fault=str(error))
    stored = 2 if size_bytes != card.size_bytes else _stored_bytes(card.dtype, dtype.itemsize)
    is_plain = not card.quantization or size_bytes != card.size_bytes
    return Placement(
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        weight_bytes=size_bytes * dtype.itemsize // stored if is_plain else size_bytes,
        free_bytes=free_bytes(device),
    )


def _stored_bytes(dtype: str, default: int) -> int:
    """Of one weight in the files."""
    return {"float32": 4, "bfloat16": 2, "float16": 2}.get(dtype, default)


def _reason(error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {first_line}"


if __name__ == "__main__":
    sys.exit(main())
