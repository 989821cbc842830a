"""Models with real shapes and random weights, in the form of Hugging Face's folders.

They weigh and cost what a trained model of the shape does, save for a smaller vocabulary, and are
loaded by the same code. What they say has no sense.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.bench.word_tokenizer import END, VOCAB_SIZE, save_tokenizer
from observability.bench.errors import CannotMeasure, WrongOption

if TYPE_CHECKING:
    import transformers

DTYPES = ("bfloat16", "float16", "float32")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's weights look like, as the fields of its configuration say."""

    family: str
    """As transformers calls it, without `Config`."""
    sizes: dict[str, Any]
    about: str
    """A line for the user."""


SHAPES: dict[str, Shape] = {
    "qwen2.5-0.5b": Shape(
        family="Qwen2",
        sizes={
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "tie_word_embeddings": True,
        },
        about="Qwen2.5 0.5B's layers: 387 M parameters with this vocabulary",
    ),
    "llama-1b": Shape(
        family="Llama",
        sizes={
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            "tie_word_embeddings": True,
        },
        about="Llama 3.2 1B's layers: 1040 M parameters with this vocabulary",
    ),
    "tiny": Shape(
        family="Qwen2",
        sizes={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            "tie_word_embeddings": True,
        },
        about="for trying things out: 2 M parameters",
    ),
}


def make_model(shape: str, folder: Path, dtype: str = "bfloat16", seed: int = 0) -> None:
    """A model of this shape in a new folder; the same seed gives the same weights.

    The tokenizer is the same for all. The folder appears when all is in it. Raises `WrongOption`
    for a shape or a type that there is not, `CannotMeasure` if the folder cannot be made.
    """
    if shape not in SHAPES:
        raise WrongOption(f"there is no shape {shape!r}; there are {', '.join(SHAPES)}")
    if dtype not in DTYPES:
        raise WrongOption(f"weights cannot be {dtype!r}; they can be {', '.join(DTYPES)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotMeasure(f"{folder} is there already; name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made_in:
            made = Path(made_in) / "model"
            made.mkdir()
            save_tokenizer(made)
            (made / "chat_template.jinja").write_text(CHAT_TEMPLATE)
            save_weights(SHAPES[shape], made, dtype, seed, vocab_size=VOCAB_SIZE, end_id=END)
            shutil.rmtree(folder, ignore_errors=True)  # an empty one may be there
            made.rename(folder)
    except OSError as error:
        raise CannotMeasure(f"{folder} cannot be made: {error.strerror or error}") from None


def save_weights(
    shape: Shape, folder: Path, dtype: str, seed: int, *, vocab_size: int, end_id: int
) -> None:
    """Weights and configuration, without a tokenizer. Raises `OSError`."""
    # Imported here: naming a shape needs neither.
    import torch
    import transformers

    config = getattr(transformers, f"{shape.family}Config")(
        **shape.sizes, vocab_size=vocab_size, bos_token_id=None, eos_token_id=end_id
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=getattr(torch, dtype)
        )
        scatter(model)
    model.save_pretrained(folder)


def scatter(model: transformers.PreTrainedModel) -> None:
    """Weights that make every part of a model matter.

    Those that transformers starts with are so small that all logits are alike and a tie decides;
    its biases are 0 and its norms do nothing. An embedding that is also the output would have the
    last token win each time: it is small, and the last norm makes up for it.
    """
    import torch

    outputs = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    is_tied = model.get_input_embeddings().weight is outputs.weight
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights is model.get_input_embeddings().weight and is_tied:
                weights.normal_(0, 0.03)
            elif weights.dim() > 1:
                weights.normal_(0, 0.15)
            elif name.endswith("sinks"):
                weights.normal_(0, 1)
            else:
                weights.add_(torch.randn_like(weights), alpha=0.1)
                if is_tied and name in ("model.norm.weight", "transformer.ln_f.weight"):
                    weights.add_(4)
