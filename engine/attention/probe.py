"""`ShapeProbe`: one dry run tells what each layer caches, whatever the family's config says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.attention.layers import LayerShape

if TYPE_CHECKING:
    import torch


class ShapeProbe:
    """A `PagedAttention` that stores nothing, remembers shapes and answers zeros."""

    def __init__(self) -> None:
        self.layers: dict[int, LayerShape] = {}

    def attend(
        self,
        layer: int,
        q_1HqTD: torch.Tensor,
        k_1HkvTD: torch.Tensor,
        v_1HkvTDv: torch.Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
        sinks_Hq: torch.Tensor | None,
    ) -> torch.Tensor:
        if layer in self.layers:
            raise ValueError(f"two attention modules call themselves layer {layer}")
        _, num_kv_heads, _, key_size = k_1HkvTD.shape
        value_size = v_1HkvTDv.shape[-1]
        self.layers[layer] = LayerShape(num_kv_heads, key_size, value_size, sliding_window)
        _, num_heads, num_tokens, _ = q_1HqTD.shape
        return q_1HqTD.new_zeros(1, num_tokens, num_heads, value_size)
