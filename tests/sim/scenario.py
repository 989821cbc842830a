"""`Scenario`: what a seed decides before anything runs: models, limits, and how visitors behave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.cache_size import num_peak_blocks
from engine.config import EngineConfig, SchedulerConfig
from engine.models.card import ModelCard
from engine.protocol import Ready, SamplingParams

if TYPE_CHECKING:
    from random import Random

MODELS = ("m", "n")
"""The first is there from the beginning, the second comes and goes."""

VOCABULARY = 250
"""Tokens of the models; those of prompts are few, so that prompts have something in common."""

_WINDOWS: list[tuple[int | None, ...]] = [
    (None,),
    (None,),
    (None,),
    (5,),
    (None, 3),
    (9, 4),
    (None, 2, 7),
]


@dataclass(frozen=True)
class ModelShape:
    """A model of the simulation and the limits it runs under."""

    name: str
    salt: int
    block_size: int
    windows: tuple[int | None, ...]
    groups: list[tuple[int, int | None]]
    max_model_len: int
    config: SchedulerConfig
    weight_bytes: int

    @property
    def ready(self) -> Ready:
        return Ready(
            model=self.name,
            device="cpu",
            dtype="float32",
            num_blocks=self.groups[0][0],
            block_size=self.block_size,
            max_model_len=self.max_model_len,
            max_batch_tokens=self.config.max_batch_tokens,
            num_parameters=0,
            weight_bytes=self.weight_bytes,
            kv_cache_bytes=0,
            vocab_size=VOCABULARY,
        )

    def engine_config(self, memory_bytes: int = 0) -> EngineConfig:
        card = ModelCard(self.name, "", "", "", 128, 7, (), None, "float32", 0, 0, {})
        return EngineConfig(card, memory_bytes=memory_bytes, scheduler=self.config)


def _shape(rng: Random, name: str, config: SchedulerConfig) -> ModelShape:
    """With few blocks: the longest sequence fits, and often not much more."""
    block_size = rng.choice([1, 2, 2, 4, 4, 8])
    windows = rng.choice(_WINDOWS)
    max_model_len = rng.choice([12, 24, 24, 40])
    groups = []
    for window in windows:
        least = num_peak_blocks(max_model_len, block_size, window, config.max_batch_tokens)
        groups.append((int(least * rng.choice([1, 1.5, 2, 3])), window))
    return ModelShape(
        name=name,
        salt=MODELS.index(name),
        block_size=block_size,
        windows=windows,
        groups=groups,
        max_model_len=max_model_len,
        config=config,
        weight_bytes=100,
    )


class Scenario:
    """Fixed for the whole history of a seed."""

    def __init__(self, rng: Random) -> None:
        config = SchedulerConfig(
            continuous_batching=rng.random() < 0.9,
            policy=rng.choice(["fifo", "priority", "dynamic", "dynamic"]),
            max_batch_tokens=rng.randint(2, 16),
            max_running=rng.choice([1, 2, 4, 8]),
            max_waiting=rng.choice([2, 6, 20, 60]),
            max_waiting_tokens=rng.choice([100, 2000, 2000]),
        )
        self.shapes = {name: _shape(rng, name, config) for name in MODELS}
        self.memory_bytes = rng.choice([0, 0, 250, 150])
        self.max_overtaken = rng.choice([1, 2, 4, 32])
        self.mean_gap_s = rng.choice([0.005, 0.01, 0.02, 0.05])
        self.mean_step_s = rng.choice([0.0, 0.005, 0.005])
        self.max_burst = rng.choice([1, 2, 6, 12])
        self.num_tenants = rng.choice([1, 2, 4])
        self.share_of_second_model = rng.choice([0.0, 0.3])
        self.share_of_samples = rng.choice([0.0, 0.2, 0.6])
        self.share_of_deadlines = rng.choice([0.0, 0.0, 0.3])
        self.share_of_prompt_logprobs = rng.choice([0.0, 0.1, 0.3])
        self.share_of_leavers = rng.choice([0.0, 0.2, 0.5])
        self.num_operators = rng.choice([0, 0, 1, 2])
        self._stems = [[rng.randrange(7) for _ in range(40)] for _ in range(3)]

    def prompt(self, rng: Random, max_model_len: int) -> list[int]:
        """Half of them begin like others do. One in sixty is none that can be answered."""
        if rng.random() < 1 / 60:
            return rng.choice([[], [1] * max_model_len, [1] * (max_model_len + 5), [VOCABULARY]])
        length = rng.randint(1, max(rng.randint(1, max_model_len - 1), 1))
        cut = rng.choice([0, length // 2, length - 1, length])
        return rng.choice(self._stems)[:cut] + [rng.randrange(7) for _ in range(length - cut)]

    def params(self, rng: Random, stop_token_ids: tuple[int, ...]) -> SamplingParams:
        wants_prompt = rng.random() < self.share_of_prompt_logprobs
        return SamplingParams(
            max_tokens=rng.choice([1, 2, 4, 8, 16, 100]) if rng.random() < 0.99 else 0,
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            seed=0,
            stop_token_ids=stop_token_ids,
            num_logprobs=0 if rng.random() < 0.1 else None,
            num_prompt_logprobs=0 if wants_prompt else None,
        )
