"""`KVTensors`: the memory behind the block ids. Owned by the runner, on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.attention.layers import LayerGroup


class KVTensors:
    """Keys and values of every layer: [num_blocks + 1, block_size, Hkv, D].

    Layers of one group share block ids, so a block of the group is a block in each of its layers.
    Zeroed at the start: a masked slot weighs nothing, but 0 x NaN would still be NaN. Behind the
    blocks of each pool lies one more, the scratch block, for steps that belong to no request.
    """

    def __init__(
        self,
        groups: Sequence[LayerGroup],
        num_blocks: Sequence[int],
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`num_blocks` has an entry for each group."""
        self.block_size = block_size
        self.windows = [group.window for group in groups]
        self.scratch_blocks = list(num_blocks)
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self.group_of: dict[int, int] = {}
        for index, (group, count) in enumerate(zip(groups, num_blocks, strict=True)):
            for layer, shape in group.layers.items():
                head = (count + 1, block_size, shape.num_kv_heads)
                self.keys[layer] = torch.zeros(*head, shape.key_size, dtype=dtype, device=device)
                self.values[layer] = torch.zeros(
                    *head, shape.value_size, dtype=dtype, device=device
                )
                self.group_of[layer] = index

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

    def prepare(
        self, copies: Sequence[tuple[int, int, int]], dirty_blocks: Sequence[tuple[int, int]]
    ) -> None:
        """Zero the dirty blocks (group, block) and make the copies (group, from, to). What is
        copied is read before anything is written: a block may be both dirty and written to."""
        for group in {group for group, *_ in (*copies, *dirty_blocks)}:
            sources = [source for g, source, _ in copies if g == group]
            targets = [target for g, _, target in copies if g == group]
            dirty = [block for g, block in dirty_blocks if g == group]
            for cache in self._tensors_of(group):
                copied = cache[sources]
                cache[dirty] = 0
                cache[targets] = copied

    def _tensors_of(self, group: int) -> list[torch.Tensor]:
        layers = [layer for layer, g in self.group_of.items() if g == group]
        return [cache[layer] for layer in layers for cache in (self.keys, self.values)]
