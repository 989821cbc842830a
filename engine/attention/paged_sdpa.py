"""`PagedSdpa`: the reference attention. Gathers each sequence's blocks, then uses torch's own.

Sequences that compute one token (decode) go through together, padded to the longest; the others
(prefill chunks) one by one. Shape legend: see `base`; B sequences, L cached tokens, G query heads
a key head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.kv_tensors import KVTensors


class DecodeGroup:
    """The leading rows of a step: one token for each of B sequences."""

    def __init__(self, blocks_BN: torch.Tensor, positions_B: torch.Tensor, block_size: int) -> None:
        self.blocks_BN = blocks_BN
        self.size = len(blocks_BN)
        self._positions_B1 = positions_B[:, None]
        self._keys_1L = torch.arange(blocks_BN.shape[1] * block_size, device=blocks_BN.device)[None]

    def mask(self, window: int | None) -> torch.Tensor:
        """[B, 1, 1, L] bool: which cached tokens each row sees."""
        return _visible(self._positions_B1, self._keys_1L, window)[:, None, None]


class PrefillChunk:
    """Rows `start .. stop - 1` of a step: consecutive tokens of one sequence."""

    def __init__(
        self, rows: slice, blocks_1N: torch.Tensor, positions_T: torch.Tensor, end_position: int
    ) -> None:
        self.rows = rows
        self.blocks_1N = blocks_1N
        self.length = end_position
        self._positions_T1 = positions_T[:, None]
        self._keys_1L = torch.arange(end_position, device=blocks_1N.device)[None]

    def mask(self, window: int | None) -> torch.Tensor:
        """[1, 1, T, L] bool: causal from the sequence's start, within the window."""
        return _visible(self._positions_T1, self._keys_1L, window)[None, None]


def _visible(rows: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    visible = keys <= rows
    return visible if window is None else visible & (keys > rows - window)


class PagedSdpa:
    """A `PagedAttention` for one step; masks are made once for each window that layers ask for."""

    def __init__(
        self,
        cache: KVTensors,
        slots_T: torch.Tensor,
        decode: DecodeGroup | None,
        chunks: list[PrefillChunk],
    ) -> None:
        self._cache = cache
        self._slots_T = slots_T
        self._decode = decode
        self._chunks = chunks
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}

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
        k_TkvD, v_TkvDv = k_1HkvTD[0].transpose(0, 1), v_1HkvTDv[0].transpose(0, 1)
        self._cache.store(layer, self._slots_T, k_TkvD, v_TkvDv)
        num_kv_heads = k_1HkvTD.shape[1]
        q_kGTD = q_1HqTD.view(num_kv_heads, -1, *q_1HqTD.shape[2:])
        sinks_kG11 = None if sinks_Hq is None else sinks_Hq.view(num_kv_heads, -1, 1, 1)
        outputs: list[torch.Tensor] = []
        if self._decode is not None:
            # The G query heads of a key head become its rows: no key is copied for them.
            q_BkGD = q_kGTD[:, :, : self._decode.size].permute(2, 0, 1, 3)
            k_BkLD, v_BkLD = self._cache.gather(layer, self._decode.blocks_BN)
            mask = self._mask(-1, sliding_window, self._decode.mask)
            sinks = None if sinks_kG11 is None else sinks_kG11[None, :, :, 0]
            out_BkGD = _attention(q_BkGD, k_BkLD, v_BkLD, mask, scaling, softcap, sinks)
            outputs.append(out_BkGD.flatten(1, 2))
        for index, chunk in enumerate(self._chunks):
            q = q_kGTD[:, :, chunk.rows]
            k_kLD, v_kLD = (
                t[0, :, : chunk.length] for t in self._cache.gather(layer, chunk.blocks_1N)
            )
            k, v = (t[:, None].expand(-1, q.shape[1], -1, -1) for t in (k_kLD, v_kLD))
            mask = self._mask(index, sliding_window, chunk.mask)
            out_kGTD = _attention(q, k, v, mask, scaling, softcap, sinks_kG11)
            outputs.append(out_kGTD.flatten(0, 1).transpose(0, 1))
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None]

    def _mask(
        self, group: int, window: int | None, make: Callable[[int | None], torch.Tensor]
    ) -> torch.Tensor:
        key = (group, window)
        if key not in self._masks:
            self._masks[key] = make(window)
        return self._masks[key]


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
