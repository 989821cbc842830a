"""`Cost`: what a step must move and compute at the least, from a model's shape. Pure.

Counted are the weights (each read once a step, the head for the rows that are drawn from), the keys
and values (all that is attended to read, the new ones written), and the operations of projections
and attention. Norms, rotations and sampling are left out: little, and no lower bound needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.bench.ceiling import Ceiling
    from engine.protocol import Ready


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """What costs depend on."""

    num_body_parameters: int
    """Of all that each token goes through: without embedding and head."""
    num_head_parameters: int
    bytes_per_parameter: float
    kv_bytes_per_token: float
    """Of all layers."""
    attention_width: int
    """Layers x heads x head size: a token takes 4 operations of each with each token it sees."""

    @classmethod
    def of(cls, ready: Ready, windows: Sequence[int | None], config: Any) -> ModelShape | None:
        """From what the engine says of the loaded model and transformers' configuration of it;
        `windows` has that of each group of layers, None where they see everything.

        None for what is not counted here: experts, of which a token takes only some; windows.
        """
        text = config.get_text_config()
        sizes = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")
        is_sparse = any("expert" in name for name in text.to_dict())
        has_windows = any(window is not None for window in windows)
        if is_sparse or has_windows or not all(hasattr(text, name) for name in sizes):
            return None
        head = text.vocab_size * text.hidden_size
        num_embeddings = 1 if text.tie_word_embeddings else 2
        head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return cls(
            num_body_parameters=ready.num_parameters - num_embeddings * head,
            num_head_parameters=head,
            bytes_per_parameter=ready.weight_bytes / ready.num_parameters,
            kv_bytes_per_token=ready.kv_cache_bytes / (ready.num_blocks * ready.block_size),
            attention_width=text.num_hidden_layers * text.num_attention_heads * head_size,
        )


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The least that must be done."""

    num_bytes: float
    num_operations: float

    @classmethod
    def of(
        cls,
        shape: ModelShape,
        *,
        num_steps: int,
        num_tokens: int,
        num_drawn: int,
        num_seen: int,
        num_read: int,
    ) -> Cost:
        """Of steps that compute `num_tokens`, which see `num_seen` tokens in sum, draw `num_drawn`
        and read the keys and values of `num_read` tokens."""
        parameters = shape.num_body_parameters + shape.num_head_parameters * (num_drawn > 0)
        return cls(
            num_bytes=num_steps * parameters * shape.bytes_per_parameter
            + shape.kv_bytes_per_token * (num_read + num_tokens),
            num_operations=2 * shape.num_body_parameters * num_tokens
            + 2 * shape.num_head_parameters * num_drawn
            + 4 * shape.attention_width * num_seen,
        )

    def least_s(self, ceiling: Ceiling) -> tuple[float, str]:
        """The time that it takes on a machine, and what bounds it: "bytes" or "operations"."""
        bytes_s = self.num_bytes / ceiling.bytes_per_s
        operations_s = self.num_operations / ceiling.operations_per_s
        return max((bytes_s, "bytes"), (operations_s, "operations"))
