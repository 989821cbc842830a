"""Random models of real families, saved as a hub would hold them: seconds on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from engine.bench.random_model import scatter

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = 260
EOS = 259
CONTEXT = 512

_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 256,
    "eos_token_id": EOS,
    "pad_token_id": 257,
}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_MIXED = ["sliding_attention", "full_attention"]

FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "Qwen2": {"tie_word_embeddings": True},
    "Qwen2Moe": {**_MOE, "shared_expert_intermediate_size": 48, "norm_topk_prob": False},
    "Qwen3": {"head_dim": 16},
    "Qwen3Moe": {"head_dim": 16, **_MOE, "norm_topk_prob": True},
    "Mistral": {"sliding_window": 16},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Gemma2": {
        "head_dim": 16,
        "sliding_window": 16,
        "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    },
    "Gemma3Text": {
        "head_dim": 16,
        "sliding_window": 16,
        "query_pre_attn_scalar": 24,
        "layer_types": _MIXED,
        "rope_parameters": {
            "sliding_attention": _ROPE,
            "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
        },
    },
    "Phi3": {
        "sliding_window": 24,
        "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5},
    },
    "SmolLM3": {"num_hidden_layers": 4, "no_rope_layer_interval": 2},
    "Olmo2": {},
    "Granite": {
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.8,
        "attention_multiplier": 0.1,
        "logits_scaling": 0.5,
        "tie_word_embeddings": True,
    },
    "Glm4": {"head_dim": 16, "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5}},
    "GptOss": {
        "head_dim": 16,
        "sliding_window": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "layer_types": _MIXED,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 150_000.0,
            "factor": 8.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": CONTEXT // 8,
        },
    },
    "GPT2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
}
"""What each family needs beside the common shape."""

UNSERVABLE: dict[str, dict[str, Any]] = {
    "StableLm": {},
    "Falcon": {},
    "Bamba": {},
    "Lfm2": {"full_attn_idxs": [1]},
    "Doge": {},
    "Bart": {"d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4},
    "BigBirdPegasus": {"d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4},
    "Phimoe": {"num_local_experts": 4, "sliding_window": 16},
}
"""Families that hide their attention, their window or a mask of their own, whose layers carry a
state, whose tokens see what follows them, or that do not go by the positions they are given."""


_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}<sep>{% endfor %}assistant: "


def save_tiny_model(folder: Path, family: str, **changes: object) -> Path:
    """A random model and a byte tokenizer in `folder`; the same for the same family each time."""
    specific = FAMILIES.get(family) or UNSERVABLE.get(family) or {}
    config = getattr(transformers, f"{family}Config")(**{**_SHAPE, **specific, **changes})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    scatter(model)
    model.save_pretrained(folder)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    return folder


def byte_tokenizer() -> Tokenizer:
    """One token a byte (ids 0 to 255), then <bos>, <pad>, <sep>, <eos>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<bos>", "<pad>", "<sep>", "<eos>"])
    return tokenizer


def greedy_by_transformers(folder: Path, prompt: list[int], max_tokens: int) -> list[int]:
    """Plain `generate` on the folder's model: float32, one sequence, its own attention."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        ids = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=max_tokens,
            do_sample=False,
        )
    tokens: list[int] = ids[0, len(prompt) :].tolist()
    return tokens
