"""What is known of a model before its weights load. Neither torch nor transformers is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from engine.models.errors import BadModelFolder
from engine.models.model_folder import ModelFolder
from engine.models.rejection import check_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    Config = Mapping[str, object]

# From the end of the original context on these change the rotation of all positions of a batch at
# once, so one long request would change the answers of the others.
_WHOLE_BATCH_ROPE = frozenset({"dynamic", "longrope", "su"})
_GENERATION_DEFAULTS = (
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "max_new_tokens",
)


class ModelCard(msgspec.Struct, frozen=True):
    """One model that can be served; both sides of the engine's channel hold the same card.

    `name` is the served name. `max_model_len` counts prompt and output tokens. Every one of
    `eos_token_ids` ends a text; there may be none. `created` is Unix time in seconds.
    `quantization` is the method by which the weights are stored, "" for plain ones.
    """

    name: str
    path: str
    architecture: str
    model_type: str
    max_model_len: int
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    dtype: str
    size_bytes: int
    created: int
    generation_defaults: dict[str, bool | int | float]
    kind: Literal["text-generation"] = "text-generation"
    quantization: str = ""


def read_card(path: Path, name: str) -> ModelCard:
    """Read and judge the model folder `path`, to be served as `name`.

    Raises ModelNotFound (no folder), BadModelFolder (files missing, cut off or unreadable),
    UnsupportedModel (a model that is not served); each says what to do next.
    """
    folder = ModelFolder(path)
    config = folder.read_json("config.json", is_required=True)
    generation = folder.read_json("generation_config.json")
    architecture = _architecture(config)
    model_type = str(config.get("model_type", ""))
    check_config(config, architecture, model_type)
    folder.check_tokenizer()
    return ModelCard(
        name=name,
        path=str(path),
        architecture=architecture,
        model_type=model_type,
        max_model_len=_max_model_len(config),
        vocab_size=_required_size(config, "vocab_size"),
        eos_token_ids=_eos_token_ids(folder, config, generation),
        bos_token_id=next(iter(_ids_of("bos_token_id", generation, config)), None),
        dtype=_dtype(config),
        size_bytes=folder.weight_bytes(),
        created=int((path / "config.json").stat().st_mtime),
        generation_defaults={
            key: value
            for key in _GENERATION_DEFAULTS
            if isinstance(value := generation.get(key), bool | int | float)
        },
        quantization=_quantization(config),
    )


def _architecture(config: Config) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _layers(config: Config) -> Iterator[Config]:
    """The config itself, then the text model's in it, where a model has several parts."""
    yield config
    text = config.get("text_config")
    if isinstance(text, dict):
        yield text


def _required_size(config: Config, *keys: str) -> int:
    """The first positive number under one of `keys`, which are names of the same thing."""
    for layer in _layers(config):
        for key in keys:
            value = layer.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    raise BadModelFolder(
        f"config.json gives no usable {keys[0]}; add it, or download the model again"
    )


def _max_model_len(config: Config) -> int:
    length = _required_size(config, "max_position_embeddings", "n_positions")
    originals = [
        original
        for layer in _layers(config)
        for rope in _ropes(layer)
        if rope.get("rope_type", rope.get("type")) in _WHOLE_BATCH_ROPE
        for holder in (rope, layer, config)
        if isinstance(original := holder.get("original_max_position_embeddings"), int)
        and original > 0
    ]
    return min([length, *originals])


def _ropes(config: Config) -> Iterator[Config]:
    """The rope settings; some models have one for each type of layer."""
    for key in ("rope_parameters", "rope_scaling"):
        value = config.get(key)
        if isinstance(value, dict):
            yield value
            yield from (inner for inner in value.values() if isinstance(inner, dict))


def _ids_of(key: str, *configs: Config) -> list[int]:
    """The token ids under `key` in the first config (or its text part) that has any."""
    for layer in (layer for config in configs for layer in _layers(config)):
        value = layer.get(key)
        values = value if isinstance(value, list) else [value]
        ids = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
        if ids:
            return list(dict.fromkeys(ids))
    return []


def _eos_token_ids(folder: ModelFolder, config: Config, generation: Config) -> tuple[int, ...]:
    ids = _ids_of("eos_token_id", generation, config)
    if ids:
        return tuple(ids)
    token = folder.read_json("tokenizer_config.json").get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    found = folder.added_token_id(text) if isinstance(text, str) else None
    return () if found is None else (found,)


def _dtype(config: Config) -> str:
    for layer in _layers(config):
        for key in ("dtype", "torch_dtype"):
            value = layer.get(key)
            if isinstance(value, str):
                return value.removeprefix("torch.")
    return "float32"


def _quantization(config: Config) -> str:
    for layer in _layers(config):
        settings = layer.get("quantization_config")
        if settings and isinstance(settings, dict):
            method = settings.get("quant_method")
            if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
                method = "bitsandbytes"
            return str(method or "an unnamed method")
    return ""
