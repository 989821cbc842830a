"""What a model's layers call instead of their own attention.

Shape legend: T tokens of a step (all sequences packed into one row), Hq query heads, Hkv key and
value heads, D head size of queries and keys, Dv of values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


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
