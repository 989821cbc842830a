"""Random models of real families, saved as a hub would hold them: seconds on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

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

FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 16},
    "Mistral": {"sliding_window": 16},
    "Gemma2": {"head_dim": 16, "sliding_window": 16},
    "Gemma3Text": {
        "head_dim": 16,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Phi3": {},
    "GptOss": {"head_dim": 16, "sliding_window": 16, "num_local_experts": 4},
    "Qwen3Moe": {"head_dim": 16, **_MOE},
    "GPT2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
}
"""What each family needs beside the common shape."""

UNSERVABLE: dict[str, dict[str, Any]] = {
    "StableLm": {},
    "Falcon": {},
    "Bamba": {},
    "Lfm2": {"full_attn_idxs": [1]},
}
"""Families that hide their attention, or whose layers carry a state of their own."""


_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}<sep>{% endfor %}assistant: "


def save_tiny_model(folder: Path, family: str, **changes: object) -> Path:
    """A random model and a byte tokenizer in `folder`; the same for the same family each time."""
    specific = FAMILIES.get(family) or UNSERVABLE.get(family) or {}
    config = getattr(transformers, f"{family}Config")(**{**_SHAPE, **specific, **changes})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(0, 0.15)  # the default is so small that all logits are alike
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
