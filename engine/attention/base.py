"""What a model's layers call instead of their own attention, and what a step tells it.

Shape legend: T tokens of a step (all sequences packed into one row), S sequences of the step, Hq
query heads, Hkv key and value heads, D head size of queries and keys, Dv of values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from engine.kv_tensors import KVTensors

    Ints = NDArray[np.int64]


class GroupStep(NamedTuple):
    """A step as one group of layers sees it: the slots of the new tokens, and the block table of
    each sequence as far as the longest goes. Behind its end a sequence has the scratch block."""

    slots_T: Ints
    tables_SN: NDArray[np.int32]


class PackedStep(NamedTuple):
    """Which tokens of the packed row are whose. Sequences that compute one token come first.

    `starts_S` has the position of a sequence's first token here, `counts_S` how many it computes,
    `ends_S` the index of the last of them in the packed row.
    """

    starts_S: Ints
    counts_S: Ints
    ends_S: Ints
    num_decoding: int
    positions_T: Ints
    groups: Sequence[GroupStep]


class PagedAttention(Protocol):
    """Attention of one step over a paged cache."""

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
        """Store the new keys and values of `layer`, then attend causally within each sequence.

        Args:
            scaling: factor on the scores, before `softcap` (tanh cap) and sinks.
            sliding_window: each token sees that many tokens, itself included; None: all.
            sinks_Hq: one extra score a head that takes weight and gives nothing (GPT-OSS).

        Returns:
            [1, T, Hq, Dv], the order in which transformers wants it.
        """
        ...


class AttentionBackend(Protocol):
    """A way to attend, with the cache that it has laid out for itself."""

    @property
    def cache(self) -> KVTensors: ...

    def begin(self, step: PackedStep) -> PagedAttention:
        """The attention of a step, for all its layers."""
        ...
