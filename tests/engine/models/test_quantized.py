"""Quantized checkpoints answer as their plain weights do, or say why they cannot be loaded."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config import CacheConfig, EngineConfig
from engine.errors import OutOfMemory, StartupError
from engine.models import loader, quantized
from engine.models.card import read_card
from engine.models.loader import load
from engine.protocol import SamplingParams
from engine.step import RowStart, StepPlan, TableChange
from tests.tiny_model import greedy_by_transformers, save_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine.runner import LoadedModel

    Weights = dict[str, torch.Tensor]

FP4_VALUES = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
FP8 = {"quant_method": "fp8", "weight_block_size": [32, 32], "activation_scheme": "dynamic"}
PROMPT = list(range(30, 50))


def mxfp4(name: str, weights: torch.Tensor) -> tuple[Weights, torch.Tensor]:
    """The experts' weights as GPT-OSS stores them, and what they are worth: 32 share a power of 2,
    two lie in a byte."""
    groups = weights.transpose(1, 2).unflatten(-1, (-1, 32))
    exponents = torch.floor(torch.log2(groups.abs().amax(-1) / 6)) + 1
    scales = torch.exp2(exponents)[..., None]
    codes = ((groups / scales)[..., None] - FP4_VALUES).abs().argmin(-1)
    stored = {
        f"{name}_blocks": (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8),
        f"{name}_scales": (exponents + 127).to(torch.uint8),
    }
    plain = (FP4_VALUES[codes] * scales).flatten(-2).transpose(1, 2)
    return stored, plain.contiguous()


def fp8(name: str, weights: torch.Tensor) -> tuple[Weights, torch.Tensor]:
    """Blocks of 32 x 32 share a scale."""
    blocks = weights.unflatten(1, (-1, 32)).unflatten(0, (-1, 32))
    scales = blocks.abs().amax((1, 3)) / 448
    codes = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
    plain = codes.float() * scales[:, None, :, None]
    stored = {name: codes.reshape(weights.shape), f"{name}_scale_inv": scales}
    return stored, plain.reshape(weights.shape).contiguous()


def save_both(
    path: Path,
    family: str,
    settings: dict[str, object],
    quantize: Callable[[str, torch.Tensor], tuple[Weights, torch.Tensor]],
    suffixes: tuple[str, ...],
) -> tuple[Path, Path]:
    """(a folder with quantized weights, one with plain weights of the same worth)."""
    folder, plain_folder = (save_tiny_model(path / kind, family) for kind in ("stored", "plain"))
    weights = load_file(folder / "model.safetensors")
    stored: Weights = {}
    for name in [name for name in weights if name.endswith(suffixes)]:
        parts, plain = quantize(name, weights[name])
        stored |= parts
        weights[name] = plain
    rest = {name: tensor for name, tensor in weights.items() if not name.endswith(suffixes)}
    save_file(rest | stored, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(weights, plain_folder / "model.safetensors", metadata={"format": "pt"})
    set_quantization(folder, settings)
    return folder, plain_folder


def set_quantization(folder: Path, settings: dict[str, object] | None) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "quantization_config": settings}))


def load_folder(folder: Path, dtype: str = "float32") -> LoadedModel:
    config = EngineConfig(
        card=read_card(folder, "tiny"),
        device="cpu",
        dtype=dtype,
        max_model_len=64,
        num_threads=1,
        cache=CacheConfig(num_blocks=40),
    )
    return load(config, lambda _: None)


def greedy(loaded: LoadedModel, prompt: list[int], count: int) -> list[int]:
    params = SamplingParams(count, temperature=0.0, top_p=1.0, top_k=0, seed=0)
    num_blocks = 64 // loaded.ready.block_size
    start = RowStart(0, params, 0, prompt, len(prompt), scores_prompt=False)
    changes = [TableChange(g, 0, 0, list(range(num_blocks))) for g in range(len(loaded.groups))]
    plan = StepPlan([0], [0], [len(prompt)], [True], prompt, [start], changes)
    tokens: list[int] = []
    while len(tokens) < count:
        (token,) = loaded.runner.execute(plan).token_ids
        assert token is not None
        tokens.append(token)
        plan = StepPlan([0], [len(prompt) + len(tokens) - 1], [1], [True], [token])
    return tokens


def test_mxfp4_weights_of_gpt_oss_answer_as_the_plain_ones_of_the_same_worth(
    tmp_path: Path,
) -> None:
    folder, plain = save_both(
        tmp_path, "GptOss", MXFP4, mxfp4, ("experts.gate_up_proj", "experts.down_proj")
    )
    loaded = load_folder(folder)
    assert loaded.ready.dtype == "float32"
    assert greedy(loaded, PROMPT, 16) == greedy_by_transformers(plain, PROMPT, 16)


@pytest.mark.parametrize("family", ["Qwen3", "Qwen3Moe"])
def test_fp8_weights_answer_as_the_plain_ones_of_the_same_worth(
    family: str, tmp_path: Path
) -> None:
    folder, plain = save_both(tmp_path, family, FP8, fp8, ("_proj.weight",))
    if find_spec("accelerate") is None:
        with pytest.raises(StartupError, match=r"quantized with fp8.*pip install accelerate"):
            load_folder(folder)
        return
    assert greedy(load_folder(folder), PROMPT, 16) == greedy_by_transformers(plain, PROMPT, 16)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, r"gptq.*optimum"),
        ({"quant_method": "awq", "bits": 4, "group_size": 32}, r"awq.*gptqmodel"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, r"bitsandbytes.*accelerate"),
        ({"quant_method": "compressed-tensors"}, r"compressed-tensors.*compressed-tensors"),
        ({"quant_method": "hqq"}, r"hqq.*hqq"),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, r"torchao.*torchao"),
        ({"quant_method": "quanto", "weights": "int8"}, r"quanto.*optimum-quanto"),
        ({"quant_method": "fbgemm_fp8"}, r"fbgemm_fp8.*GPU"),
        ({"quant_method": "nvfp4"}, r"nvfp4.*code from the hub"),
        ({"quant_method": "modelopt"}, r"modelopt.*transformers cannot load"),
        ({"bits": 4}, r"an unnamed method"),
    ],
)
def test_a_method_that_does_not_run_here_is_one_sentence_that_names_what_is_missing(
    settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path, "Llama")
    set_quantization(folder, settings)
    with pytest.raises(StartupError, match=words) as found:
        load_folder(folder)
    assert "\n" not in str(found.value)
    assert "Take the model's plain weights" in str(found.value)


def test_scales_that_nobody_has_asked_for_are_no_weights_too_many(tmp_path: Path) -> None:
    folder, _ = save_both(tmp_path, "Qwen3", FP8, fp8, ("_proj.weight",))
    set_quantization(folder, None)
    with pytest.raises(StartupError, match="quantized weights that transformers has not"):
        load_folder(folder)


def test_scales_of_a_quantized_cache_are_left_aside(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, "Qwen3")
    weights = load_file(folder / "model.safetensors")
    scale = {"model.layers.0.self_attn.k_scale": torch.ones(1)}
    save_file(weights | scale, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_folder(folder).ready.num_blocks == 40


def test_the_size_of_a_quantized_model_is_that_of_its_loaded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plain = save_both(
        tmp_path, "GptOss", MXFP4, mxfp4, ("experts.gate_up_proj", "experts.down_proj")
    )
    card = read_card(folder, "tiny")
    num_weights = sum(w.numel() for w in load_file(plain / "model.safetensors").values())
    assert card.quantization == "mxfp4"
    assert quantized.loaded_bytes(card) == 2 * num_weights
    monkeypatch.setattr(loader, "free_bytes", lambda _: 2 * num_weights - 1)
    with pytest.raises(OutOfMemory, match="GiB of weights"):
        load_folder(folder)
