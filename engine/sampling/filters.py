"""Top-k, top-p and min-p: which tokens may be drawn, without a sort of the vocabulary.

Each filter is a threshold on the logits, and what equals it stays. So the choice depends neither on
the order of ties nor on how the threshold was found: among the largest few (`pick_among_top`), or
by a histogram (`pick_among_all`) for the rows where those few are not enough.

Shapes: B rows, V vocabulary, K candidates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from engine.sampling.chunks import Chunks
from engine.sampling.weights import ceiling, draw, draw_of, exponents, weigh

NUM_CANDIDATES = 256
"""So many of the largest logits are looked at for top-p; also the bound of a small top-k."""

UNRESOLVED = -2
"""In place of a token: the candidates were not enough."""

_CHUNK = 64
_NUM_BUCKETS = 1024


class Draws(NamedTuple):
    """How each of B rows is drawn; float64 [B] on the device.

    `top_k` 0, `top_p` inf and `log_min_p` -inf leave all.
    """

    temperature: torch.Tensor
    noise: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    log_min_p: torch.Tensor


def pick(logits_BV: torch.Tensor, peak_B: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Token ids int64 [B] of rows without top-k and top-p."""
    exponents_BV = exponents(logits_BV, peak_B[:, None], draws.temperature.float()[:, None])
    weights = weigh(exponents_BV, ceiling(logits_BV.shape[-1]))
    return draw(weights, draws.noise)


def pick_with_min_p(logits_BV: torch.Tensor, peak_B: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Token ids int64 [B] of rows with min-p alone."""
    exponents_BV = exponents(logits_BV, peak_B[:, None], draws.temperature.float()[:, None])
    light = exponents_BV < draws.log_min_p.float()[:, None]
    weights = weigh(exponents_BV.masked_fill_(light, -torch.inf), ceiling(logits_BV.shape[-1]))
    return draw(weights, draws.noise)


def pick_among_top(
    logits_BV: torch.Tensor, peak_B: torch.Tensor, draws: Draws, num_candidates: int, is_small: bool
) -> torch.Tensor:
    """Token ids int64 [B], `UNRESOLVED` where more than the candidates may be drawn.

    With `is_small` each row has a top-k below `num_candidates`; without, none has any.
    """
    vocab_size = logits_BV.shape[-1]
    top = ceiling(vocab_size)
    temperature, peak = draws.temperature.float()[:, None], peak_B[:, None]
    values, token_ids = Chunks(vocab_size, _CHUNK).top(logits_BV, num_candidates)
    exponents_BK = exponents(values, peak, temperature)
    light = exponents_BK < draws.log_min_p.float()[:, None]
    weights = weigh(exponents_BK, top)
    if is_small:
        least = values.gather(1, draws.top_k.long()[:, None] - 1)
        weights.masked_fill_(values < least, 0)
        total = weights.double().sum(dim=-1, keepdim=True)
    else:
        everything = weigh(exponents(logits_BV, peak, temperature), top)
        total = Chunks(vocab_size, 1024).sums(everything).sum(dim=-1, keepdim=True)
    wide = weights.double()
    beyond = wide.cumsum(dim=-1) - wide >= draws.top_p[:, None] * total
    least = values.masked_fill(beyond, torch.inf).amin(dim=-1, keepdim=True)
    weights.masked_fill_((values < least) | light, 0)
    picked = draw_of(weights, token_ids, draws.noise)
    if values.shape[-1] == vocab_size:
        return picked
    # The last candidate is in, so others that equal it, or come after it, may be too.
    return torch.where(weights[:, -1] > 0, UNRESOLVED, picked)


def pick_among_all(logits_BV: torch.Tensor, peak_B: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Token ids int64 [B] for any top-k, top-p and min-p. The host waits for the device."""
    vocab_size = logits_BV.shape[-1]
    exponents_BV = exponents(logits_BV, peak_B[:, None], draws.temperature.float()[:, None])
    light = exponents_BV < draws.log_min_p.float()[:, None]
    weights = weigh(exponents_BV, ceiling(vocab_size))
    most = int(draws.top_k.amax())
    if most > 0:
        values = logits_BV.topk(min(most, vocab_size), dim=-1).values
        least = values.gather(1, draws.top_k.long()[:, None].sub(1).clamp(0, vocab_size - 1))
        least.masked_fill_(draws.top_k[:, None] <= 0, -torch.inf)
        weights.masked_fill_(logits_BV < least, 0)
    if bool((draws.top_p < torch.inf).any()):
        weights.masked_fill_(logits_BV < _least_of_top_p(logits_BV, peak_B, weights, draws), 0)
    return draw(weights.masked_fill_(light, 0), draws.noise)


def _least_of_top_p(
    logits_BV: torch.Tensor, peak_B: torch.Tensor, weights_BV: torch.Tensor, draws: Draws
) -> torch.Tensor:
    """The smallest logit of the smallest set that has `top_p` of the weight, [B, 1].

    The weight of each of some ranges of logits tells in which one the set ends; only that one is
    put in order.
    """
    # Below the last bucket's start nothing weighs anything.
    reach = draws.temperature * (math.log(ceiling(logits_BV.shape[-1])) + 2)
    depth = (peak_B[:, None] - logits_BV) * (_NUM_BUCKETS / reach).float()[:, None]
    bucket = depth.nan_to_num_(nan=0).clamp_(0, _NUM_BUCKETS - 1).long()
    mass = torch.zeros(len(bucket), _NUM_BUCKETS, dtype=torch.float64, device=bucket.device)
    mass.scatter_add_(1, bucket, weights_BV.double())
    before = mass.cumsum(dim=-1) - mass
    goal = draws.top_p[:, None] * mass.sum(dim=-1, keepdim=True)
    last = (before < goal).sum(dim=-1, keepdim=True).sub_(1).clamp_(min=0)
    is_inside = (bucket == last) & (weights_BV > 0)
    most = max(1, int(is_inside.sum(dim=-1).amax()))
    values, at = logits_BV.masked_fill(~is_inside, -torch.inf).topk(most, dim=-1)
    weights = weights_BV.gather(1, at).double()
    beyond = before.gather(1, last) + weights.cumsum(dim=-1) - weights >= goal
    least = values.masked_fill_(beyond | (values == -torch.inf), torch.inf).amin(-1, keepdim=True)
    return least.masked_fill_(draws.top_p[:, None] == torch.inf, -torch.inf)
