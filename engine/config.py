"""What the engine is told at its start. Frozen; the units are in the names."""

from __future__ import annotations

import msgspec

from engine.models.card import ModelCard


class CacheConfig(msgspec.Struct, frozen=True):
    """The KV cache. `num_blocks` 0 sizes it to the memory; see `engine.device`."""

    block_size: int = 16
    num_blocks: int = 0


class SchedulerConfig(msgspec.Struct, frozen=True):
    """Limits of a step and of the queue."""

    max_batch_tokens: int = 512
    max_running: int = 256
    max_waiting: int = 1024
    max_waiting_tokens: int = 1_000_000


class EngineConfig(msgspec.Struct, frozen=True):
    """Everything the actor needs to load one model and run it.

    `device` is "auto", "cpu" or "cuda[:N]"; `dtype` is "auto", "float32", "bfloat16" or
    "float16". `max_model_len` 0 takes the model's own context.
    """

    card: ModelCard
    device: str = "auto"
    dtype: str = "auto"
    max_model_len: int = 0
    num_threads: int = 0
    cache: CacheConfig = CacheConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
