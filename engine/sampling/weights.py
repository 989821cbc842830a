"""Weights in whole numbers, and the draw among them.

A token's weight is exp((logit - peak) / temperature), times a power of two and rounded. A float64
holds the sum of a whole row of such numbers exactly, in any order. So it makes no difference which
tokens were looked at, in which order they were added, on how many threads or in what company:
whoever draws by them draws the same token. What is lighter than 2^-35 of the heaviest token (for
150k tokens; less for smaller vocabularies) weighs nothing.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import math

import torch

from engine.sampling.chunks import Chunks

_CHUNK = 1024


def ceiling(vocab_size: int) -> float:
    """The heaviest token's weight: of `vocab_size` such, the sum stays below 2^53."""
    return 2.0 ** (52 - math.ceil(math.log2(vocab_size)))


def exponents(
    logits_BV: torch.Tensor, peak_B1: torch.Tensor, temperature_B1: torch.Tensor
) -> torch.Tensor:
    """What weights are the exponential of, float32 [B, V].

    From the peak down, before the division: a tiny temperature then gives 0 and -inf, not NaN.
    """
    return torch.sub(logits_BV, peak_B1).div_(temperature_B1)


def weigh(exponents_BV: torch.Tensor, ceiling: float) -> torch.Tensor:
    """Weights in place of the exponents: whole numbers in [0, ceiling], float32.

    `exp` and not `exp2`, which costs a third of it on a CPU, but rounds otherwise where a tensor
    ends: a token's weight would depend on where it stands.
    """
    return exponents_BV.exp_().mul_(ceiling).round_()


def target(noise_B: torch.Tensor, total_B: torch.Tensor) -> torch.Tensor:
    """The whole number in [0, total) at which the distribution is inverted, float64 [B, 1]."""
    return (noise_B * total_B).floor_().minimum(total_B - 1)[:, None]


def draw(weights_BV: torch.Tensor, noise_B: torch.Tensor) -> torch.Tensor:
    """Columns int64 [B]: the first whose cumulative weight is above the noise's share.

    In two levels, pieces and then the columns of one of them, which needs no cumulative sum of V
    numbers. Any column where the row holds NaN.
    """
    chunks = Chunks(weights_BV.shape[-1], _CHUNK)
    sums = chunks.sums(weights_BV)
    cumulative = sums.cumsum(dim=-1)
    goal = target(noise_B, cumulative[:, -1])
    chunk = _first_above(cumulative, goal)
    goal = goal - (cumulative.gather(1, chunk) - sums.gather(1, chunk))
    weights, columns = chunks.gather(weights_BV, chunk, 0)
    return columns.gather(1, _first_above(weights.double().cumsum(dim=-1), goal))[:, 0]


def draw_of(
    weights_BK: torch.Tensor, token_ids_BK: torch.Tensor, noise_B: torch.Tensor
) -> torch.Tensor:
    """What `draw` gives where the K tokens are all that weigh something, in any order."""
    token_ids, order = token_ids_BK.sort(dim=-1)
    cumulative = weights_BK.gather(1, order).double().cumsum(dim=-1)
    goal = target(noise_B, cumulative[:, -1])
    return token_ids.gather(1, _first_above(cumulative, goal))[:, 0]


def _first_above(cumulative: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    index = torch.searchsorted(cumulative, goal, right=True)
    return index.clamp_(max=cumulative.shape[-1] - 1)  # NaN is above nothing
