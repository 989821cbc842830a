"""Which models are refused, judged by config.json alone.

Refused: settings that fetch code, anything that is no causal language model, and layers with a
state that is not keys and values (it cannot be paged, shared or rolled back).

`auto_map` passes: many models carry code of their own from before transformers knew them. It is
never run, and a model that needs it is refused when it loads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.models.errors import UnsupportedModel
from engine.models.families import SUPPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Config = Mapping[str, object]

_SERVED_LAYERS = frozenset({"full_attention", "sliding_attention"})
_ATTENTION_BLOCKS = frozenset({"attention", "full_attention", "sliding_attention"})
_BLOCK_LISTS = ("layers_block_type", "block_types", "_block_types")
_RECURRENT_KEY = re.compile(
    r"mamba_|ssm_|rwkv|conv_L_cache$|linear_(?:conv|key|value|num)_|hybrid_override_pattern$"
    r"|state_size$|attn_layer_period$|lru_width$"
)
_RECURRENT_TYPES = frozenset(
    {"mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "recurrent_gemma", "jamba", "zamba"}
)
# They have a ...ForCausalLM class, and attend to both sides unless told otherwise.
_ENCODER_TYPES = re.compile(
    r"(?:(?:xlm-)?roberta(?:-xl)?|bert(?:-generation)?|camembert|electra|ernie|data2vec-text"
    r"|megatron-bert|modernbert|roformer|xmod|roc_bert|rembert|big_bird)(?:-prelayernorm)?"
)
_PRIVATE_IMPLEMENTATION = re.compile(r"_+\w*(?:attn|attention|experts|kernel)\w*_implementation\w*")


def check_config(config: Config, architecture: str, model_type: str) -> None:
    """Raises UnsupportedModel, with the reason and what to do next."""
    _check_code(config)
    _check_architecture(config, architecture, model_type)
    for nested in _nested(config):
        _check_layers(nested, str(nested.get("model_type", model_type)))


def _check_code(config: Config) -> None:
    for nested in _nested(config):
        for key, value in nested.items():
            is_private = bool(_PRIVATE_IMPLEMENTATION.fullmatch(key))
            is_fetched = "_implementation" in key and isinstance(value, str) and "/" in value
            # `_attn_implementation_autoset: true` was saved by older versions and does nothing.
            if (is_private and value is not None and not isinstance(value, bool)) or is_fetched:
                raise UnsupportedModel(
                    f"config.json sets {key}, which can fetch and run code; remove it if you "
                    "trust the rest of the model (Kvorum chooses its attention itself)"
                )


def _check_architecture(config: Config, architecture: str, model_type: str) -> None:
    if architecture == "Gemma3ForConditionalGeneration":
        raise UnsupportedModel(
            "Gemma3ForConditionalGeneration takes images, which are not served; take a text-only "
            f"Gemma 3 (Gemma3ForCausalLM, such as the 270m and 1b sizes). {SUPPORTED}"
        )
    if not architecture.endswith(("ForCausalLM", "LMHeadModel")):
        raise UnsupportedModel(
            f"{architecture or 'a model without architectures'} is no causal language model; "
            f"take one whose config.json names a ...ForCausalLM. {SUPPORTED}"
        )
    if config.get("is_encoder_decoder") is True:
        raise UnsupportedModel(
            f"{architecture} is an encoder and decoder; take a decoder only. {SUPPORTED}"
        )
    if _ENCODER_TYPES.fullmatch(model_type) and config.get("is_decoder") is not True:
        raise UnsupportedModel(
            f"{model_type} is an encoder: its tokens see what follows them; take a decoder. "
            f"{SUPPORTED}"
        )


def _check_layers(config: Config, model_type: str) -> None:
    layers = _strings(config.get("layer_types")) - _SERVED_LAYERS
    blocks = [_strings(config.get(name)) - _ATTENTION_BLOCKS for name in _BLOCK_LISTS]
    refused = sorted(layers.union(*blocks))
    if refused:
        raise UnsupportedModel(
            f"{model_type} has layers of type {', '.join(refused)}, which are not served (only "
            f"full_attention and sliding_attention are); take a model without them. {SUPPORTED}"
        )
    recurrent = [k for k, v in config.items() if _RECURRENT_KEY.match(k) and v is not None]
    if recurrent or model_type in _RECURRENT_TYPES:
        named = f"config.json sets {recurrent[0]}: " if recurrent else ""
        raise UnsupportedModel(
            f"{named}{model_type} keeps a recurrent state, which is not served; take a model "
            f"with attention layers only. {SUPPORTED}"
        )


def _strings(value: object) -> set[str]:
    return {str(item) for item in value} if isinstance(value, list) else set()


def _nested(config: Config) -> Iterator[Config]:
    """The config and every config within it."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from _nested(value)
