"""What the sampler must do, slowly and plainly: float64, one row, a full sort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engine.protocol import SamplingParams
from engine.sampling.noise import uniform
from engine.sampling.sampler import Sampled, Sampler
from engine.step import RowStart

if TYPE_CHECKING:
    import random

DEFAULTS: dict[str, Any] = {
    "max_tokens": 100,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "seed": 0,
}
CPU = torch.device("cpu")


def params_of(**changes: Any) -> SamplingParams:
    return SamplingParams(**{**DEFAULTS, **changes})


def start_of(
    row: int, params: SamplingParams, token_ids: list[int], num_prompt_tokens: int | None = None
) -> RowStart:
    border = len(token_ids) if num_prompt_tokens is None else num_prompt_tokens
    return RowStart(row, params, row, token_ids, border, False)


def sample_alone(
    logits: torch.Tensor, params: SamplingParams, token_ids: list[int], border: int, sample: int = 0
) -> Sampled:
    """One row in a sampler of its own."""
    sampler = Sampler(1, logits.shape[-1], CPU)
    sampler.start(RowStart(0, params, sample, token_ids, border, False))
    return sampler.sample(logits[None], [0], [len(token_ids)])


def draw_many(logits: list[float], count: int = 4000, **changes: Any) -> list[int | None]:
    """The same row at `count` positions."""
    sampler = Sampler(count, len(logits), CPU)
    for row in range(count):
        sampler.start(RowStart(row, params_of(**changes), 0, [], 0, False))
    many = torch.tensor([logits]).expand(count, -1)
    return sampler.sample(many, range(count), range(count)).token_ids


def changed_logits(
    logits: torch.Tensor, params: SamplingParams, token_ids: list[int], border: int
) -> np.ndarray:
    """float64 [V], in the order that `SamplingParams` says; a loop over the vocabulary."""
    output = token_ids[border:]
    bias = dict(params.logit_bias)
    changed = []
    for token, raw in enumerate(logits.double().tolist()):
        value = raw
        is_out = bool(params.allowed_token_ids) and token not in params.allowed_token_ids
        if is_out or token in params.banned_token_ids:
            value = -np.inf
        value += bias.get(token, 0.0)
        if token in params.stop_token_ids and len(output) < params.min_tokens:
            value = -np.inf
        if token in token_ids:
            repetition = params.repetition_penalty
            value = value * repetition if value < 0 else value / repetition
        count = output.count(token)
        value -= params.frequency_penalty * count + params.presence_penalty * (count > 0)
        changed.append(value)
    return np.asarray(changed)


def distribution(changed: np.ndarray, params: SamplingParams) -> np.ndarray:
    """float64 [V]: the probability that each token is drawn with."""
    weights = np.exp((changed - changed.max()) / params.temperature)
    order = np.argsort(-changed, kind="stable")
    if params.top_k:
        least = changed[order[min(params.top_k, len(order)) - 1]]
        weights[changed < least] = 0
    if params.top_p < 1:
        before = np.cumsum(weights[order]) - weights[order]
        inside = order[before < params.top_p * weights.sum()]
        weights[changed < changed[inside].min()] = 0
    weights[weights < params.min_p * weights.max()] = 0
    return weights / weights.sum()


def tokens_at(probabilities: np.ndarray, noise: float, tolerance: float = 2e-5) -> set[int]:
    """Which tokens may be drawn at the noise; more than one only right at a border."""
    above = np.cumsum(probabilities)
    is_near = (above - probabilities - tolerance <= noise) & (noise <= above + tolerance)
    return set(np.flatnonzero(is_near & (probabilities > 0)).tolist())


def expected_tokens(
    logits: torch.Tensor, params: SamplingParams, token_ids: list[int], border: int, sample: int = 0
) -> set[int]:
    """The one token that must come, or few at a border of rounding."""
    changed = changed_logits(logits, params, token_ids, border)
    if params.temperature == 0:
        return set(np.flatnonzero(changed >= changed.max() - 1e-5).tolist())
    noise = uniform(params.seed, sample, len(token_ids))
    return tokens_at(distribution(changed, params), noise)


def random_params(chance: random.Random, vocab_size: int) -> SamplingParams:
    """Any mix: each parameter is at its default in half of all cases."""

    def some(count: int) -> tuple[int, ...]:
        return tuple(chance.sample(range(vocab_size), min(count, vocab_size - 1)))

    mix: dict[str, Any] = {
        "temperature": chance.choice([0.0, 0.2, 0.7, 1.5, 6.0]),
        "top_k": chance.choice([1, 2, 40, 255, 256, 700, vocab_size, 10 * vocab_size]),
        "top_p": chance.choice([0.05, 0.3, 0.8, 0.95, 0.999]),
        "min_p": chance.choice([0.01, 0.1, 0.5]),
        "presence_penalty": chance.uniform(-2, 2),
        "frequency_penalty": chance.uniform(-2, 2),
        "repetition_penalty": chance.choice([0.5, 1.1, 2.0]),
        "logit_bias": tuple((token, chance.uniform(-5, 5)) for token in some(4)),
        "allowed_token_ids": some(chance.choice([5, 600])),
        "banned_token_ids": some(3),
        "stop_token_ids": some(2),
        "min_tokens": chance.choice([1, 4, 30]),
        "num_logprobs": chance.choice([0, 1, 5, 20]),
    }
    chosen = {name: value for name, value in mix.items() if chance.random() < 0.5}
    if "allowed_token_ids" in chosen:  # so that they are never all banned
        allowed = set(chosen["allowed_token_ids"]) - set(mix["banned_token_ids"])
        chosen["allowed_token_ids"] = tuple(sorted(allowed - set(mix["stop_token_ids"])))
    return params_of(seed=chance.getrandbits(64), **chosen)
