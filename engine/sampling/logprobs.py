"""Log-probabilities of the model's own distribution: of one token and of the likeliest in its place.

Shapes: B rows, V vocabulary, N likeliest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from engine.protocol import TokenLogprobs
from engine.sampling.chunks import Chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

LOWEST = -9999.0
"""Stands for minus infinity, which JSON does not have."""

_SPARE = 44
"""So many more than the likeliest asked for are looked at: logits that were computed in bfloat16
are often equal, and of equals the smaller ids come first."""


def score(
    logits_BV: torch.Tensor, token_ids_B: torch.Tensor, num_top: int, *, in_full: bool = False
) -> torch.Tensor:
    """float64 [B, 2 + 2 N]: the token's log-probability; 1 where the rest is right, 0 where equals
    of the last go on and `in_full` is needed; the N largest, falling, of equals the smaller id
    first; their ids.

    Args:
        logits_BV: float32, as the model gave them.
        token_ids_B: int64; one outside of the vocabulary has the lowest log-probability.
        in_full: sort all of the vocabulary.
    """
    vocab_size = logits_BV.shape[-1]
    peak = logits_BV.amax(dim=-1, keepdim=True)
    total = Chunks(vocab_size, 1024).sums(torch.sub(logits_BV, peak).exp_())
    normaliser = peak.double() + total.sum(dim=-1, keepdim=True).log_()
    inside = token_ids_B.clamp(0, vocab_size - 1)
    own = logits_BV.gather(1, inside[:, None]).double() - normaliser
    own.masked_fill_((inside != token_ids_B)[:, None], LOWEST)
    num_top = min(num_top, vocab_size)
    if in_full:
        values, ids = logits_BV.sort(dim=-1, descending=True, stable=True)
    else:
        values, ids = Chunks(vocab_size, 64).top(logits_BV, num_top + _SPARE if num_top else 1)
        ids, order = ids.sort(dim=-1)
        values, order = values.gather(1, order).sort(dim=-1, descending=True, stable=True)
        ids = ids.gather(1, order)
    is_right = values[:, -1:] != values[:, max(0, num_top - 1)][:, None]
    if num_top == 0 or values.shape[-1] == vocab_size:
        is_right = torch.ones_like(is_right)
    scores = torch.cat([own, values[:, :num_top].double() - normaliser], dim=-1)
    scores = scores.nan_to_num_(nan=LOWEST, neginf=LOWEST).clamp_(LOWEST, 0.0).float().double()
    return torch.cat([scores[:, :1], is_right.double(), scores[:, 1:], ids[:, :num_top]], dim=-1)


def read(
    scores_BN: npt.NDArray[np.float64], token_ids: Sequence[int], num_tops: Sequence[int]
) -> list[TokenLogprobs]:
    """What `score` gave, on the host, as it is sent; of each row as many as it asks for."""
    count = (scores_BN.shape[1] - 2) // 2
    own = scores_BN[:, 0].tolist()
    likeliest = scores_BN[:, 2 : 2 + count].tolist()
    ids = scores_BN[:, 2 + count :].astype(int).tolist()
    return [
        TokenLogprobs(
            token_ids[row], own[row], tuple(ids[row][:num_top]), tuple(likeliest[row][:num_top])
        )
        for row, num_top in enumerate(num_tops)
    ]
