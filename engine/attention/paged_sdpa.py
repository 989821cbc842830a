"""`SdpaBackend`: the reference attention. Gathers each sequence's blocks, then uses torch's own.

Sequences that compute one token (decode) go through together, padded to the longest; the others
(prefill chunks) one by one. Shape legend: see `base`; B sequences, L gathered tokens, G query heads
a key head.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from engine.kv_tensors import KVTensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engine.attention.base import Ints, PackedStep
    from engine.attention.layers import LayerGroup, LayerShape


class SdpaBackend:
    """On any device. Keys and values lie as [block, slot, Hkv, D]."""

    def __init__(
        self,
        groups: Sequence[LayerGroup],
        num_blocks: Sequence[int],
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.cache = KVTensors(groups, num_blocks, block_size, dtype, device, _layout)
        self._device = device

    def begin(self, step: PackedStep) -> PagedSdpa:
        """The attention of a step, for all its layers."""
        return PagedSdpa(self.cache, [self._group(step, i) for i in range(len(step.groups))])

    def _group(self, step: PackedStep, group: int) -> GroupRows:
        first = step.num_decoding
        ends_C, counts_C = step.ends_S[first:].tolist(), step.counts_S[first:].tolist()
        chunks = [
            self._gathered(step, group, slice(i, i + 1), slice(end + 1 - count, end + 1))
            for i, (end, count) in enumerate(zip(ends_C, counts_C, strict=True), first)
        ]
        firsts = slice(0, first)
        decode = self._gathered(step, group, firsts, firsts) if first else None
        return GroupRows(self._tensor(step.groups[group].slots_T), decode, chunks)

    def _gathered(
        self, step: PackedStep, group: int, sequences: slice, tokens: slice
    ) -> GatheredRows:
        """One token each of several sequences, or the chunk of one."""
        positions_T = step.positions_T[tokens]
        is_chunk = sequences.stop - sequences.start == 1
        size, window = self.cache.block_size, self.cache.windows[group]
        tables_BN = step.groups[group].tables_SN[sequences]
        lasts_B = (step.starts_S[sequences] + step.counts_S[sequences] - 1) // size
        firsts_B = None
        if window is None:
            blocks_BN = tables_BN[:, : lasts_B.max() + 1]
        else:
            firsts_B = np.maximum(step.starts_S[sequences] - window + 1, 0) // size
            columns_BN = firsts_B[:, None] + np.arange((lasts_B - firsts_B).max() + 1)
            columns_BN = np.minimum(columns_BN, tables_BN.shape[1] - 1)
            blocks_BN = np.take_along_axis(tables_BN, columns_BN, axis=1)
        return GatheredRows(
            tokens,
            self._tensor(blocks_BN),
            None if firsts_B is None else self._tensor(firsts_B * size),
            self._tensor(positions_T[None] if is_chunk else positions_T[:, None]),
            window,
            size,
        )

    def _tensor(self, values: Ints | NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)


def _layout(shape: LayerShape, block_size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    head = (block_size, shape.num_kv_heads)
    return (*head, shape.key_size), (*head, shape.value_size)


class GatheredRows:
    """Rows of a step that attend together, in one group of layers: one token of each of B
    sequences, or T tokens of one.

    `blocks_BN` are the blocks that the rows see, from `firsts_B`, the position of the first token
    in them (None: from 0); padding is masked, and is nobody's block, for another request's NaN
    would come through a mask.
    """

    def __init__(
        self,
        rows: slice,
        blocks_BN: torch.Tensor,
        firsts_B: torch.Tensor | None,
        positions_BT: torch.Tensor,
        window: int | None,
        block_size: int,
    ) -> None:
        self.rows = rows
        self.blocks_BN = blocks_BN
        self._firsts_B = firsts_B
        self._positions_BT = positions_BT
        self._window = window
        self._block_size = block_size

    @cached_property
    def mask_B1TL(self) -> torch.Tensor:
        """Which of the gathered tokens each row sees, bool. Made once, for all layers."""
        length = self.blocks_BN.shape[1] * self._block_size
        keys_L = torch.arange(length, device=self.blocks_BN.device)
        firsts_B = self._firsts_B
        keys_B1L = (keys_L[None] if firsts_B is None else firsts_B[:, None] + keys_L)[:, None]
        positions_BT1 = self._positions_BT[..., None]
        visible = keys_B1L <= positions_BT1
        if self._window is not None:
            visible &= keys_B1L > positions_BT1 - self._window
        return visible[:, None]

    def gather(self, cache: torch.Tensor) -> torch.Tensor:
        """Keys or values of the rows' sequences, [B, Hkv, L, D], from those of a layer."""
        num_sequences, num_blocks = self.blocks_BN.shape
        blocks = cache.index_select(0, self.blocks_BN.flatten())
        length = num_blocks * self._block_size
        return blocks.view(num_sequences, length, *cache.shape[2:]).transpose(1, 2)


class GroupRows(NamedTuple):
    """A step as one group of layers sees it: where the new tokens go, and who attends to what."""

    slots_T: torch.Tensor
    decode: GatheredRows | None
    chunks: Sequence[GatheredRows]


class PagedSdpa:
    """A `PagedAttention` for one step."""

    def __init__(self, cache: KVTensors, groups: Sequence[GroupRows]) -> None:
        self._cache = cache
        self._groups = groups

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
        """The window is already in the masks of the layer's group."""
        step = self._groups[self._cache.group_of[layer]]
        k_TkvD, v_TkvDv = k_1HkvTD[0].transpose(0, 1), v_1HkvTDv[0].transpose(0, 1)
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys.flatten(0, 1).index_copy_(0, step.slots_T, k_TkvD)
        values.flatten(0, 1).index_copy_(0, step.slots_T, v_TkvDv)
        num_kv_heads = k_1HkvTD.shape[1]
        q_kGTD = q_1HqTD.view(num_kv_heads, -1, *q_1HqTD.shape[2:])
        sinks_kG11 = None if sinks_Hq is None else sinks_Hq.view(num_kv_heads, -1, 1, 1)
        outputs: list[torch.Tensor] = []
        if step.decode is not None:
            # The G query heads of a key head become its rows: no key is copied for them.
            q_BkGD = q_kGTD[:, :, step.decode.rows].permute(2, 0, 1, 3)
            k_BkLD, v_BkLD = (step.decode.gather(cache) for cache in (keys, values))
            sinks = None if sinks_kG11 is None else sinks_kG11[None, :, :, 0]
            mask = step.decode.mask_B1TL
            out_BkGD = _attention(q_BkGD, k_BkLD, v_BkLD, mask, scaling, softcap, sinks)
            outputs.append(out_BkGD.flatten(1, 2))
        for chunk in step.chunks:
            q = q_kGTD[:, :, chunk.rows]
            k_1kLD, v_1kLD = (chunk.gather(cache) for cache in (keys, values))
            k, v = (t[0, :, None].expand(-1, q.shape[1], -1, -1) for t in (k_1kLD, v_1kLD))
            out_kGTD = _attention(q, k, v, chunk.mask_B1TL, scaling, softcap, sinks_kG11)
            outputs.append(out_kGTD.flatten(0, 1).transpose(0, 1))
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None]


def _attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Torch's fused attention where it can; the plain formula for score caps and sinks."""
    if softcap is None and sinks is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    scores = (q @ k.transpose(-1, -2)) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~mask, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores.dtype).expand(*scores.shape[:-1], 1)], dim=-1)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
    return weights[..., : k.shape[-2]] @ v
