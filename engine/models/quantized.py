"""Checkpoints that are stored quantized: transformers' own loaders read them, where they run.

MXFP4 and FP8 become plain weights of the chosen dtype while they load, on each device: the kernels
that compute with them as they are would be fetched as code. Other methods keep their form and need
packages that Kvorum does not install; transformers names them.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

from engine.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.models.card import ModelCard

_MADE_PLAIN = {"mxfp4": Mxfp4Config, "fp8": FineGrainedFP8Config, "mxfp8": FineGrainedFP8Config}
_FETCH_KERNELS = frozenset({"eetq", "metal", "nvfp4"})
# What plain weights do not have; scales of activations and of the cache can be done without.
_PARTS_OF_WEIGHTS = re.compile(
    r"weight_(?:scale|packed|zero_point|global_scale|shape)\w*$|\.(?:q?scales|qweight|q?zeros|g_idx)$"
    r"|_(?:blocks|scales)$|\.(?:absmax|quant_map|quant_state|scale_weight)\b"
)
_TAKE_ANOTHER = "Take the model's plain weights (bfloat16), or its MXFP4 or FP8 version"


def check_method(card: ModelCard) -> None:
    """Raises StartupError for a method that transformers does not know, or with fetched code.

    transformers takes the weights of an unknown method for plain ones.
    """
    method = card.quantization
    if method in _FETCH_KERNELS:
        raise StartupError(
            f"{card.name} is quantized with {method}, whose kernels are code from the hub, which "
            f"is never run. {_TAKE_ANOTHER}."
        )
    known = {name.removesuffix("_4bit").removesuffix("_8bit") for name in AUTO_QUANTIZER_MAPPING}
    if method and method not in known:
        raise StartupError(
            f"{card.name} is quantized with {method}, which transformers cannot load. "
            f"{_TAKE_ANOTHER}."
        )


def loading_options(card: ModelCard) -> dict[str, Any]:
    """What `from_pretrained` must be told."""
    config = _MADE_PLAIN.get(card.quantization)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def loaded_bytes(card: ModelCard) -> int:
    """What the weights take in memory: as in the files, or in 16 bits if they are made plain."""
    if card.quantization not in _MADE_PLAIN:
        return card.size_bytes
    num_weights = 0
    for path in Path(card.path).glob("*.safetensors"):
        if path.name.startswith("consolidated"):
            continue
        file: Any = safe_open(path, framework="pt")
        num_weights += sum(
            _num_weights(key, file.get_slice(key).get_shape())
            for key in file.keys()  # noqa: SIM118 (it is no dict)
        )
    return 2 * num_weights


def _num_weights(name: str, shape: list[int]) -> int:
    if "scale" in name:
        return 0
    return math.prod(shape) * (2 if name.endswith("_blocks") else 1)  # MXFP4: two in a byte


def check_no_scales_left(card: ModelCard, unused: Iterable[str]) -> None:
    """Raises StartupError if weights were quantized in a way that nobody has noticed.

    Without their scales they are noise.
    """
    parts = sorted(name for name in unused if _PARTS_OF_WEIGHTS.search(name))
    if parts:
        raise StartupError(
            f"{card.name} has quantized weights that transformers has not understood: it has left "
            f"{len(parts)} of their parts unused, among them {parts[0]}. {_TAKE_ANOTHER}."
        )


def cannot_load(card: ModelCard, reason: str) -> str:
    """The sentence for a quantized model that transformers refuses; its reason names packages."""
    return (
        f"{card.name} is quantized with {card.quantization}, which cannot be loaded here: "
        f"{reason.rstrip('. ')}. {_TAKE_ANOTHER}."
    )
