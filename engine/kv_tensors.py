"""`KVTensors`: the memory behind the block ids. Owned by the runner, on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.attention.probe import LayerShape


class KVTensors:
    """Keys and values of every layer: [num_blocks, block_size, Hkv, D].

    Zeroed at the start: a masked slot weighs nothing, but 0 x NaN would still be NaN. Behind the
    blocks of the pool lies one more, `scratch_block`, for steps that belong to no request.
    """

    def __init__(
        self,
        layers: Mapping[int, LayerShape],
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.scratch_block = num_blocks
        self.block_size = block_size
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        for layer, shape in layers.items():
            head = (num_blocks + 1, block_size, shape.num_kv_heads)
            self.keys[layer] = torch.zeros(*head, shape.key_size, dtype=dtype, device=device)
            self.values[layer] = torch.zeros(*head, shape.value_size, dtype=dtype, device=device)

    def store(
        self, layer: int, slots_T: torch.Tensor, k_TkvD: torch.Tensor, v_TkvDv: torch.Tensor
    ) -> None:
        """Write the keys and values of T tokens, [T, Hkv, D], to their slots."""
        self.keys[layer].flatten(0, 1).index_copy_(0, slots_T, k_TkvD)
        self.values[layer].flatten(0, 1).index_copy_(0, slots_T, v_TkvDv)

    def gather(self, layer: int, blocks_BN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, [B, Hkv, N * block_size, D], of the blocks of B sequences."""
        num_sequences, num_blocks = blocks_BN.shape
        flat = blocks_BN.flatten()

        def take(cache: torch.Tensor) -> torch.Tensor:
            blocks = cache.index_select(0, flat)
            length = num_blocks * self.block_size
            return blocks.view(num_sequences, length, *cache.shape[2:]).transpose(1, 2)

        return take(self.keys[layer]), take(self.values[layer])

    def clear(self, blocks: Sequence[int]) -> None:
        """Zero whole blocks."""
        indices = list(blocks)
        for cache in (*self.keys.values(), *self.values.values()):
            cache[indices] = 0
