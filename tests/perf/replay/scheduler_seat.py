"""`SchedulerSeat`: the scheduler and its cache with a runner that draws zeros.

The only place of the replay that knows the scheduler's interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config import SchedulerConfig
from engine.kv_cache import CacheGroup, KVCache
from engine.protocol import Failed, Finished, SamplingParams, Submit
from engine.scheduler import Scheduler
from engine.step import StepResult

if TYPE_CHECKING:
    from engine.step import StepPlan

_NO_CONTENT = 0
"""The token id that every step draws. Nobody's prompt holds a block of it."""


class SchedulerSeat:
    """One step at a time, in two halves, between which the caller moves its clock."""

    def __init__(
        self,
        *,
        num_blocks: int,
        block_size: int,
        max_batch_tokens: int,
        max_running: int,
        max_model_len: int,
    ) -> None:
        everything = CacheGroup(num_blocks, block_size, window=None)
        self._scheduler = Scheduler(
            KVCache([everything], max_step_tokens=max_batch_tokens),
            SchedulerConfig(max_batch_tokens=max_batch_tokens, max_running=max_running),
            max_model_len=max_model_len,
        )
        self._plan: StepPlan | None = None

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_work

    @property
    def num_running(self) -> int:
        return self._scheduler.stats(0).num_running

    @property
    def num_preemptions(self) -> int:
        return self._scheduler.stats(0).num_preemptions

    @property
    def num_blocks_used(self) -> int:
        return self._scheduler.stats(0).num_blocks_used

    def submit(
        self, request_id: str, prompt: bytes, max_tokens: int, arrived_ns: int, now_ns: int
    ) -> None:
        """Queue a request; `prompt` holds uint32 token ids. A refusal is an error: ValueError."""
        params = SamplingParams(max_tokens, temperature=0, top_p=1, top_k=0, seed=0)
        refusals = self._scheduler.submit(Submit(request_id, prompt, params, arrived_ns), now_ns)
        if refusals:
            raise ValueError(f"request {request_id} was refused: {refusals[0][1]}")

    def begin_step(self, now_ns: int) -> int:
        """Plan a step; how many tokens it computes. 0 although there is work is a deadlock."""
        self._plan = self._scheduler.schedule(now_ns)
        return self._plan.num_tokens

    def end_step(self, now_ns: int) -> list[Finished]:
        """Give the step its tokens; the requests that have ended by it."""
        assert self._plan is not None, "a step ends before it has begun"
        result = StepResult([_NO_CONTENT] * sum(self._plan.draws))
        events = self._scheduler.update(self._plan, result, now_ns)
        failed = [event for _, event in events if isinstance(event, Failed)]
        assert not failed, f"the scheduler fails a request: {failed}"
        return [event for _, event in events if isinstance(event, Finished)]

    def check(self) -> None:
        """Assert every invariant of the scheduler and its cache."""
        self._scheduler.check()
