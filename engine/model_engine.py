"""`ModelEngine`: one loaded model: its scheduler, its cache's bookkeeping and its runner."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from engine.errors import ENGINE_ERROR
from engine.kv_cache import CacheGroup, KVCache
from engine.scheduler import Addressed, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.config import SchedulerConfig
    from engine.device import Device
    from engine.runner import LoadedModel

logger = logging.getLogger(__name__)


class ModelEngine:
    """Runs steps while its scheduler has work. Belongs to the actor, like all that it holds."""

    def __init__(
        self,
        loaded: LoadedModel,
        config: SchedulerConfig,
        device: Device,
        clock: Callable[[], int],
    ) -> None:
        """`clock` gives monotonic ns."""
        ready = loaded.ready
        groups = [CacheGroup(count, ready.block_size, window) for count, window in loaded.groups]
        self.ready = ready
        self.scheduler = Scheduler(
            KVCache(groups, max_step_tokens=ready.max_batch_tokens),
            config,
            max_model_len=ready.max_model_len,
            vocab_size=ready.vocab_size or 1 << 32,
            model=ready.model,
        )
        self.step_started_ns = 0
        self._runner = loaded.runner
        self._device = device
        self._clock = clock

    async def step(self, events: list[Addressed]) -> None:
        """Run one step, if there is anything to run, and add what there is to tell to `events`. If
        it fails its requests fail and the others go on.

        Raises:
            Exception: not even the smallest step runs: the device is broken, and not some request.
        """
        events += self.scheduler.expire(self._clock())
        plan = self.scheduler.schedule(self._clock())
        if not plan.rows:
            return
        self.step_started_ns = self._clock()
        try:
            result = await self._device.run(lambda: self._runner.execute(plan))
        except Exception:
            logger.exception("a step of %d sequences failed", len(plan.rows))
            await self._device.run(self._runner.probe)
            text = "The model failed while computing this answer."
            events += self.scheduler.fail_step(plan, ENGINE_ERROR, text)
            return
        finally:
            self.step_started_ns = 0
        events += self.scheduler.update(plan, result, self._clock())

    def fail_all(self, code: str, message: str) -> list[Addressed]:
        """End every request without an answer."""
        return self.scheduler.fail(self.scheduler.request_ids, code, message)
