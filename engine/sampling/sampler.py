"""`Sampler`: a row of logits and a number from [0, 1) give a token. Stateless, row by row.

Rows: B sampling sequences, V vocabulary. Each row's result depends on that row alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from engine.sampling.noise import uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.step import ScheduledSequence


MIN_TEMPERATURE = 1e-5
"""Below it a row is greedy, which is its limit: float32 holds no quotient by less than 1e-38."""


class _Draw(NamedTuple):
    """The rows of a step that are drawn at random, and how."""

    rows: list[int]
    temperature: list[float]
    top_p: list[float]
    top_k: list[int]
    noise: list[float]


def sample(
    logits_BV: torch.Tensor, sequences: Sequence[ScheduledSequence]
) -> tuple[int | None, ...]:
    """The next token id of each sequence; None where the logits are not finite.

    Args:
        logits_BV: float32, one row for each of `sequences`.
    """
    peak_B, token_B = logits_BV.max(dim=-1)  # a NaN anywhere in a row is its maximum
    draw = _Draw([], [], [], [], [])
    for row, sequence in enumerate(sequences):
        if sequence.temperature >= MIN_TEMPERATURE:
            draw.rows.append(row)
            draw.temperature.append(sequence.temperature)
            draw.top_p.append(sequence.top_p)
            draw.top_k.append(sequence.top_k)
            draw.noise.append(uniform(sequence.seed, 0, sequence.end_position))
    if draw.rows:
        rows = torch.tensor(draw.rows, device=logits_BV.device)
        token_B = token_B.index_copy(0, rows, _draw(logits_BV, rows, peak_B, draw))
    # An id outside of the vocabulary would break the next step for everybody in it.
    is_good_B = torch.isfinite(peak_B) & (token_B < logits_BV.shape[-1])
    tokens = zip(token_B.tolist(), is_good_B.tolist(), strict=True)
    return tuple(token if is_good else None for token, is_good in tokens)


def _draw(
    logits_BV: torch.Tensor, rows: torch.Tensor, peak_B: torch.Tensor, draw: _Draw
) -> torch.Tensor:
    """Token ids of the random rows, by inverting the cumulative distribution at the noise."""
    device = logits_BV.device
    temperature = torch.tensor(draw.temperature, device=device)[:, None]
    noise = torch.tensor(draw.noise, dtype=torch.float64, device=device)[:, None]
    # From the peak down, before the division: a tiny temperature then gives 0 and -inf, not NaN.
    weights = ((logits_BV[rows] - peak_B[rows][:, None]) / temperature).exp_()
    if any(draw.top_k) or min(draw.top_p) < 1:
        top_k = torch.tensor(draw.top_k, device=device)[:, None]
        top_p = torch.tensor(draw.top_p, device=device)[:, None]
        weights = _filtered(weights, top_k, top_p)
    cumulative = weights.double().cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Below the total even after rounding, so that the token found always has weight itself.
    target = torch.minimum(noise * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def _filtered(weights: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Zero what is outside the k heaviest (0: all), then outside the smallest set that has p.

    The token that crosses `top_p` stays, and so does the heaviest one in any case.
    """
    ordered, order = weights.sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(weights.shape[-1], device=weights.device)[None]
    ordered = ordered.masked_fill((top_k > 0) & (ranks >= top_k), 0)
    before = ordered.cumsum(dim=-1) - ordered
    beyond = before >= top_p * ordered.sum(dim=-1, keepdim=True)
    ordered = ordered.masked_fill(beyond & (ranks > 0) & (top_p < 1), 0)
    return torch.zeros_like(weights).scatter_(-1, order, ordered)
