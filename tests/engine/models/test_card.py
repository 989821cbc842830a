"""A folder is a model that can be served, or the message says why not and what to do."""

import json
from pathlib import Path

import pytest

from engine.models.card import ModelCard, read_card
from engine.models.errors import BadModelFolder, ModelNotFound, UnsupportedModel

CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 4096,
    "vocab_size": 100,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "torch_dtype": "bfloat16",
}


def weights(num_bytes: int = 16) -> bytes:
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "w": {"dtype": "F32", "shape": [num_bytes // 4], "data_offsets": [0, num_bytes]},
        }
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(num_bytes)


def folder(path: Path, config: dict[str, object] | None = None, **files: object) -> Path:
    """A good model folder, changed by `config` entries and whole JSON files."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    tokenizer = {"added_tokens": [{"id": 9, "content": "</s>"}], "model": {}}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (path / "model.safetensors").write_bytes(weights())
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


def card(path: Path, config: dict[str, object] | None = None, **files: object) -> ModelCard:
    return read_card(folder(path, config, **files), "m")


def test_a_card_holds_what_the_files_say(tmp_path: Path) -> None:
    found = card(tmp_path, generation_config={"temperature": 0.6, "top_k": 20, "x": [1]})
    assert found == ModelCard(
        name="m",
        path=str(tmp_path),
        architecture="LlamaForCausalLM",
        model_type="llama",
        max_model_len=4096,
        vocab_size=100,
        eos_token_ids=(2,),
        bos_token_id=1,
        dtype="bfloat16",
        size_bytes=len(weights()),
        created=int((tmp_path / "config.json").stat().st_mtime),
        generation_defaults={"temperature": 0.6, "top_k": 20},
    )
    assert found.kind == "text-generation"


@pytest.mark.parametrize(
    ("config", "files", "ids"),
    [
        ({}, {"generation_config": {"eos_token_id": [5, 6, 5]}}, (5, 6)),
        ({}, {"generation_config": {"eos_token_id": 0}}, (0,)),
        ({}, {"generation_config": {"eos_token_id": None}}, (2,)),
        ({"eos_token_id": [3, 4]}, {}, (3, 4)),
        ({"eos_token_id": None}, {"tokenizer_config": {"eos_token": "</s>"}}, (9,)),
        ({"eos_token_id": -1}, {"tokenizer_config": {"eos_token": {"content": "</s>"}}}, (9,)),
        ({"eos_token_id": None}, {"tokenizer_config": {"eos_token": "none such"}}, ()),
        ({"eos_token_id": None}, {}, ()),
        ({"eos_token_id": None, "text_config": {"eos_token_id": 7}}, {}, (7,)),
    ],
)
def test_generation_config_then_config_then_tokenizer_say_what_ends_a_text(
    tmp_path: Path, config: dict[str, object], files: dict[str, object], ids: tuple[int, ...]
) -> None:
    assert card(tmp_path, config, **files).eos_token_ids == ids


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 1024}}, 4096),
        ({"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 1024}}, 1024),
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 8}}, 8),
        ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 2048}, 2048),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, 4096),
        ({"rope_parameters": {"rope_type": "dynamic", "original_max_position_embeddings": 9}}, 9),
        ({"rope_parameters": {"full_attention": {"rope_type": "longrope", "original_max_position_embeddings": 7}}}, 7),
        ({"max_position_embeddings": None, "text_config": {"max_position_embeddings": 512}}, 512),
        ({"max_position_embeddings": 4, "rope_scaling": {"type": "dynamic", "original_max_position_embeddings": 9}}, 4),
    ],
)  # fmt: skip
def test_the_context_ends_where_a_longer_one_would_change_other_requests(
    tmp_path: Path, config: dict[str, object], length: int
) -> None:
    assert card(tmp_path, config).max_model_len == length


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_attn_implementation_internal": "org/kernel"}, "_attn_implementation_internal"),
        ({"_attn_implementation": "eager"}, "_attn_implementation"),
        ({"text_config": {"_experts_implementation_internal": "x"}}, "_experts"),
        ({"attn_implementation": "org/kernel"}, "fetch and run code"),
        ({"architectures": ["BertModel"]}, "no causal language model"),
        ({"architectures": None}, "without architectures"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "no causal language model"),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "text-only"),
        ({"architectures": ["RobertaForCausalLM"], "model_type": "roberta"}, "encoder"),
        ({"is_encoder_decoder": True}, "decoder only"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ({"layer_types": ["chunked_attention"]}, "chunked_attention"),
        ({"text_config": {"layer_types": ["conv"]}}, "conv"),
        ({"layers_block_type": ["attention", "mamba"]}, "mamba"),
        ({"mamba_d_state": 16}, "recurrent state"),
        ({"model_type": "falcon_mamba"}, "recurrent state"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        card(tmp_path, config)


@pytest.mark.parametrize(
    "config",
    [
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"_attn_implementation_autoset": True, "_name_or_path": "org/name"},
        {"_sliding_window_pattern": 6, "auto_map": {"AutoModel": "m.X"}, "mamba_d_state": None},
        {"architectures": ["RobertaForCausalLM"], "model_type": "roberta", "is_decoder": True},
    ],
)
def test_harmless_settings_pass(tmp_path: Path, config: dict[str, object]) -> None:
    assert card(tmp_path, config).vocab_size == 100


def test_pickled_weights_are_never_an_alternative(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="pickled weights are never loaded"):
        read_card(tmp_path, "m")


def test_a_tokenizer_json_is_needed(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match="convert its tokenizer"):
        read_card(tmp_path, "m")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        weights()[:-1],
        weights() + b"\0",
        (1 << 62).to_bytes(8, "little") + b"{}",
        (0).to_bytes(8, "little"),
        (3).to_bytes(8, "little") + b"{]}",
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 100\n",
        weights().replace(b"[0, 16]", b"[9,-16]"),
    ],
)
def test_cut_or_foreign_weight_files_are_found_before_anything_maps_them(
    tmp_path: Path, content: bytes
) -> None:
    folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BadModelFolder, match="download the model again"):
        read_card(tmp_path, "m")


def test_shards_are_added_up_checked_and_never_outside_of_the_folder(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    (tmp_path / "b.safetensors").write_bytes(weights(32))
    index.write_text('{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}')
    assert read_card(tmp_path, "m").size_bytes == len(weights()) + len(weights(32))
    index.write_text('{"weight_map": {"x": "a.safetensors", "y": "c.safetensors"}}')
    with pytest.raises(BadModelFolder, match=r"c\.safetensors"):
        read_card(tmp_path, "m")
    index.write_text('{"weight_map": {"x": "../a.safetensors"}}')
    with pytest.raises(BadModelFolder, match="outside"):
        read_card(tmp_path, "m")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": ' + "[" * 100_000, "\xff"])
def test_a_broken_config_is_a_sentence(tmp_path: Path, text: str) -> None:
    folder(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadModelFolder, match=r"config\.json"):
        read_card(tmp_path, "m")


@pytest.mark.parametrize("key", ["vocab_size", "max_position_embeddings"])
@pytest.mark.parametrize("value", [None, 0, -5, "8", True])
def test_sizes_must_be_positive_numbers(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(BadModelFolder, match=key):
        card(tmp_path, {key: value})


def test_no_folder_and_no_config_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_card(tmp_path / "none", "m")
    with pytest.raises(BadModelFolder, match=r"has no config\.json"):
        read_card(tmp_path, "m")


def test_transformers_agrees_about_the_embedded_model() -> None:
    from transformers import AutoConfig, GenerationConfig

    path = Path(__file__).parents[3] / "engine" / "embedded" / "kvorum-mini"
    if not (path / "config.json").is_file():
        pytest.skip("the embedded model is not there")
    found = read_card(path, "kvorum-mini")
    config = AutoConfig.from_pretrained(path)
    eos = GenerationConfig.from_pretrained(path).eos_token_id
    assert found.max_model_len == config.max_position_embeddings >= 2048
    assert found.vocab_size == config.vocab_size
    assert found.eos_token_ids == (tuple(eos) if isinstance(eos, list) else (eos,))
    assert str(config.dtype) == f"torch.{found.dtype}"
