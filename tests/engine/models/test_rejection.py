"""What is refused by its config.json alone, and the list of what is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from engine.models.card import read_card
from engine.models.errors import UnsupportedModel
from engine.models.families import SUPPORTED, TESTED
from tests.tiny_model import FAMILIES

DOCS = Path(__file__).parents[3] / "docs" / "models.md"
_SIZES = {"vocab_size": 100, "max_position_embeddings": 64, "num_hidden_layers": 2}

HYBRIDS: dict[str, dict[str, object]] = {
    # As the hub's configurations say it, which is not always as transformers saves it.
    "qwen3_next": {"full_attention_interval": 4, "linear_num_value_heads": 32},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "kimi_linear": {"linear_attn_config": {}, "layer_types": ["linear_attention"]},
    "minimax": {"layer_types": ["full_attention", "linear_attention"]},
    "olmo_hybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "bamba": {"mamba_d_state": 256, "attn_layer_indices": [9]},
    "jamba": {"attn_layer_period": 8, "attn_layer_offset": 4},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "nemotron_h": {"hybrid_override_pattern": "M-M*"},
    "falcon_h1": {"mamba_d_ssm": 64},
    "mamba2": {"state_size": 128},
    "falcon_mamba": {},
    "recurrent_gemma": {"lru_width": None, "block_types": ["recurrent", "attention"]},
    "lfm2": {"conv_L_cache": 3, "full_attn_idxs": [2]},
    "rwkv": {},
    "xlstm": {},
}


def folder_of(path: Path, model_type: str, config: dict[str, object]) -> Path:
    """Nothing but a config.json: it is enough to refuse a model."""
    whole = {"architectures": ["AnyForCausalLM"], "model_type": model_type, **_SIZES, **config}
    (path / "config.json").write_text(json.dumps(whole))
    return path


@pytest.mark.parametrize("model_type", HYBRIDS)
def test_linear_attention_and_hybrids_are_refused_by_their_config_alone(
    model_type: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel, match=r"recurrent state|layers of type") as found:
        read_card(folder_of(tmp_path, model_type, HYBRIDS[model_type]), "m")
    assert model_type in str(found.value)
    assert SUPPORTED in str(found.value)


@pytest.mark.parametrize(
    "name", ["Qwen3Next", "Bamba", "Jamba", "Mamba", "Mamba2", "RecurrentGemma", "Lfm2", "FalconH1"]
)
def test_what_transformers_saves_of_a_hybrid_is_refused_too(name: str, tmp_path: Path) -> None:
    config = getattr(transformers, f"{name}Config")(architectures=[f"{name}ForCausalLM"])
    config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="Supported: "):
        read_card(tmp_path, "m")


@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        ("bert", {}),
        ("t5", {"architectures": ["T5ForConditionalGeneration"]}),
        ("whisper", {"is_encoder_decoder": True}),
        ("gemma3", {"architectures": ["Gemma3ForConditionalGeneration"]}),
        ("llava", {"architectures": ["LlavaForConditionalGeneration"]}),
    ],
)
def test_what_is_no_decoder_of_text_gets_the_list_of_what_is_supported(
    model_type: str, config: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel) as found:
        read_card(folder_of(tmp_path, model_type, config), "m")
    assert str(found.value).endswith(SUPPORTED)


def test_the_list_is_one_sorted_line_that_says_where_the_rest_is() -> None:
    names = SUPPORTED.removeprefix("Supported: ").partition(";")[0].split(", ")
    assert names == sorted(names, key=str.lower)
    assert "\n" not in SUPPORTED
    assert "docs/models.md" in SUPPORTED


def test_each_family_that_is_called_tested_is_in_the_crowd_test_and_in_the_docs() -> None:
    tested = {getattr(transformers, f"{name}Config").model_type for name in FAMILIES}
    assert tested == set(TESTED)
    text = DOCS.read_text()
    assert [name for name in TESTED.values() if f"| {name} |" not in text] == []
