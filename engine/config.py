"""What the engine is told at its start. Frozen; the units are in the names."""

from __future__ import annotations

import msgspec

from engine.models.card import ModelCard
from engine.policies.select import Policy


class CacheConfig(msgspec.Struct, frozen=True):
    """The KV cache. `num_blocks` 0 sizes it to the memory; see `engine.device`."""

    block_size: int = 16
    num_blocks: int = 0


class SchedulerConfig(msgspec.Struct, frozen=True):
    """Limits of a step and of the queue, and the order of service.

    Without `continuous_batching` one sequence runs at a time, from its first token to its last.
    """

    continuous_batching: bool = True
    policy: Policy = "fifo"
    max_batch_tokens: int = 512
    max_running: int = 256
    max_waiting: int = 1024
    max_waiting_tokens: int = 1_000_000
    max_samples: int = 16

    @property
    def num_rows(self) -> int:
        """Places in the batch: each running sequence needs one, and a token of a step's budget."""
        if not self.continuous_batching:
            return 1
        return min(self.max_running, self.max_batch_tokens)


class WatchdogConfig(msgspec.Struct, frozen=True):
    """When an engine process counts as hung, and how it is started again.

    The silence is of its event loop, which sends a sign of life every second, also while weights
    load and while a step runs; `max_start_s` is for the first one, before which torch is imported. The backoff doubles from crash to crash up to its maximum; a
    process that has served for `good_life_s` starts it afresh.
    """

    max_start_s: float = 120.0
    max_silence_s: float = 20.0
    max_step_s: float = 120.0
    tick_s: float = 0.5
    backoff_s: float = 0.5
    max_backoff_s: float = 30.0
    good_life_s: float = 60.0
    stop_grace_s: float = 10.0


class EngineConfig(msgspec.Struct, frozen=True):
    """Everything the actor needs to load a model and run it.

    `device` is "auto", "cpu" or "cuda[:N]"; `dtype` is "auto", "float32", "bfloat16" or
    "float16". `max_model_len` 0 takes the model's own context. `memory_bytes` bounds weights and
    caches of all models together; 0 leaves it to what the device has.
    """

    card: ModelCard
    device: str = "auto"
    dtype: str = "auto"
    max_model_len: int = 0
    memory_bytes: int = 0
    num_threads: int = 0
    cache: CacheConfig = CacheConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    log_level: str = "info"
    log_format: str = "text"
