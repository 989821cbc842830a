"""`KVTensors`: the memory behind the block ids. Owned by the runner, on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.attention.layers import LayerGroup, LayerShape

    Sizes = tuple[int, ...]


class KVTensors:
    """Keys and values of every layer, a tensor each: [num_blocks + 1, what a block holds].

    How a block lies is the affair of who attends. Layers of one group share block ids, so a block
    of the group is a block in each of its layers. Zeroed at the start: a masked slot weighs
    nothing, but 0 x NaN would still be NaN. Behind the blocks of each pool lies one more, the
    scratch block, for steps that belong to no request.
    """

    def __init__(
        self,
        groups: Sequence[LayerGroup],
        num_blocks: Sequence[int],
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
        layout: Callable[[LayerShape, int], tuple[Sizes, Sizes]],
    ) -> None:
        """`num_blocks` has an entry for each group. `layout` tells, for a layer and a block size,
        the sizes of a block of keys and of one of values."""
        self.block_size = block_size
        self.windows = [group.window for group in groups]
        self.scratch_blocks = list(num_blocks)
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self.group_of: dict[int, int] = {}
        for index, (group, count) in enumerate(zip(groups, num_blocks, strict=True)):
            for layer, shape in group.layers.items():
                of_keys, of_values = layout(shape, block_size)
                self.keys[layer] = torch.zeros(count + 1, *of_keys, dtype=dtype, device=device)
                self.values[layer] = torch.zeros(count + 1, *of_values, dtype=dtype, device=device)
                self.group_of[layer] = index

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
