"""The families of models that are tested; docs/models.md has the table and what is special."""

from __future__ import annotations

TESTED = {
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3",
    "glm4": "GLM-4",
    "gpt2": "GPT-2",
    "gpt_oss": "GPT-OSS",
    "granite": "Granite",
    "llama": "Llama",
    "mistral": "Mistral",
    "mixtral": "Mixtral",
    "olmo2": "OLMo 2",
    "phi3": "Phi-3",
    "qwen2": "Qwen2",
    "qwen2_moe": "Qwen2-MoE",
    "qwen3": "Qwen3",
    "qwen3_moe": "Qwen3-MoE",
    "smollm3": "SmolLM3",
}
"""By `model_type`: their greedy tokens in a crowd are those of plain transformers generate, in
tests/engine/test_families.py."""

SUPPORTED = (
    f"Supported: {', '.join(sorted(TESTED.values(), key=str.lower))}; other decoders may work: "
    "see docs/models.md"
)
"""Ends each refusal of a model for what it is."""
