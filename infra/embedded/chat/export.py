"""Write a trained checkpoint as a Hugging Face model folder.

python -m infra.embedded.chat.export --run /tmp/kvorum-mini --to engine/embedded/kvorum-mini
"""

import argparse
import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from infra.embedded.chat import checkpoint
from infra.embedded.chat.model import Shape
from infra.embedded.chat.tokenizer import END, PAD, save_tokenizer

TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def config(shape: Shape, tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    """The `config.json` of `Qwen3ForCausalLM` for this shape."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.mlp_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.max_positions,
        "rms_norm_eps": 1e-06,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "rope_theta": shape.rope_theta,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(END),
        "pad_token_id": tokenizer.convert_tokens_to_ids(PAD),
    }


def generation_config(tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    """Greedy, and stop at the end of the turn."""
    return {
        "do_sample": False,
        "eos_token_id": tokenizer.convert_tokens_to_ids(END),
        "pad_token_id": tokenizer.convert_tokens_to_ids(PAD),
        "max_new_tokens": 256,
    }


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def export(
    weights: dict[str, Tensor],
    shape: Shape,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    """Write every file of the model folder except its README."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, folder)
    write_json(folder / "config.json", config(shape, tokenizer))
    write_json(folder / "generation_config.json", generation_config(tokenizer))
    tensors = {f"model.{name}": value.bfloat16().contiguous() for name, value in weights.items()}
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # save_file leaves it readable by its owner only


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--to", type=Path, required=True, help="model folder to write")
    options = parser.parse_args()
    model, _, clock = checkpoint.load(options.run)
    tokenizer = AutoTokenizer.from_pretrained(options.run / "tokenizer")
    export(model.state_dict(), model.shape, tokenizer, options.to)
    print(f"step {clock.step} ({clock.num_tokens / 1e6:.1f} M tokens) written to {options.to}")


if __name__ == "__main__":
    main()
