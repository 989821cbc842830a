"""`Crowd`: a history of the scheduler alone. Without actor, client and event loop a step costs a
third, so the same minutes see more steps; what only the whole engine can do is `World`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import ENGINE_ERROR, MODEL_NOT_LOADED
from engine.kv_cache import CacheGroup, KVCache
from engine.protocol import Abort, SamplingParams, Submit, pack_token_ids
from engine.scheduler import Scheduler
from tests.sim.court import QUIET_STEPS, Court
from tests.sim.failure import InjectedFault, claim
from tests.sim.hash_model import HashModel
from tests.sim.judge import check_quiet
from tests.sim.ledger import Ledger, Told
from tests.sim.scenario import MODELS, VOCABULARY

if TYPE_CHECKING:
    from engine.protocol import AbortReason, RequestEvent
    from tests.sim.scenario import ModelShape

_STEP_NS = 5_000_000


class Crowd(Court):
    """Time goes on by steps. Aborts that are ordered in a step reach the scheduler after it."""

    def __init__(self, seed: int, num_steps: int) -> None:
        super().__init__(seed)
        self.shape: ModelShape = self.scenario.shapes[MODELS[0]]
        self._target = num_steps - 2 * QUIET_STEPS
        self._now_ns = 1_000_000_000
        self._aborts: list[Abort] = []
        self._load()

    def now_s(self) -> float:
        return self._now_ns / 1e9

    def clock(self) -> int:
        return self._now_ns

    def scheduler_of(self, name: str) -> Scheduler:
        return self._scheduler

    def abort(self, request_id: str, reason: AbortReason, sample: int | None) -> None:
        self._aborts.append(Abort(request_id, reason, sample))

    def run(self) -> None:
        """Crowds and quiet times in turns, and at the end a quiet time."""
        rng = self.rng
        most_waiting = min(self.shape.config.max_waiting, 20)
        chance = min(0.005 * self.scenario.max_burst / self.scenario.mean_gap_s, 0.5)
        while self.num_steps < self._target:
            for _ in range(rng.choice([20, 150, 300])):
                if rng.random() < chance and len(self._scheduler._batch.waiting) < most_waiting:
                    for _ in range(rng.randint(1, self.scenario.max_burst)):
                        self._submit(self.draw_submit())
                self._turn()
                if self.num_steps >= self._target:
                    break
            if rng.random() < 0.2:
                self._unload()
            else:
                self._come_to_rest()
            self._load()

    def _load(self) -> None:
        shape = self.shape
        groups = [CacheGroup(count, shape.block_size, window) for count, window in shape.groups]
        cache = KVCache(groups, max_step_tokens=shape.config.max_batch_tokens)
        self.ledger, self._aborts = Ledger(), []
        self._model = HashModel(shape, self)
        self._scheduler = Scheduler(
            cache,
            shape.config,
            max_model_len=shape.max_model_len,
            vocab_size=VOCABULARY,
            model=shape.name,
        )
        self.adopt(shape, self._scheduler)

    def _unload(self) -> None:
        self.seen["unloads"] += 1
        ids = self._scheduler.request_ids
        self._tell(self._scheduler.fail(ids, MODEL_NOT_LOADED, ""), is_loaded=False)
        self._check_rest()

    def _submit(self, submit: Submit) -> None:
        self.ledger.told[submit.request_id] = Told(submit, self.shape, is_loaded=True)
        self.note(f"{submit}")
        self._tell(self._scheduler.submit(submit, self._now_ns))

    def _tell(self, events: list[tuple[str, RequestEvent]], *, is_loaded: bool = True) -> None:
        for request_id, event in events:
            self.note(f"{request_id}: {event}")
            told = self.ledger[request_id]
            told.take(event, is_loaded=is_loaded, is_ending=False)
            self.ledger.note(told, event)

    def _turn(self) -> None:
        """What the actor does between two looks at its commands."""
        scheduler = self._scheduler
        for abort in self._aborts:
            self.ledger[abort.request_id].note_abort(abort)
            self.see_aborted(abort, [scheduler])
            self._tell(scheduler.abort(abort.request_id, abort.reason, abort.sample))
        self._aborts = []
        self._now_ns += _STEP_NS
        if not scheduler.has_work:
            return
        self._tell(scheduler.expire(self._now_ns))
        plan = scheduler.schedule(self._now_ns)
        claim(plan.rows or not scheduler.has_work, "who has work plans a step")
        if not plan.rows:
            return
        try:
            result = self._model.execute(plan)
        except InjectedFault:
            self._tell(scheduler.fail_step(plan, ENGINE_ERROR, ""))
            return
        self._now_ns += 1
        self._tell(scheduler.update(plan, result, self._now_ns))

    def _come_to_rest(self) -> None:
        """Faults off: all end within a bounded number of steps, and a last one after them."""
        self.faults.is_calm = True
        told = self.ledger.told.values()
        bound = self.num_steps + sum(t.most_steps for t in told if not t.is_over)
        while self._scheduler.has_work:
            self._turn()
            claim(self.num_steps <= bound, "in quiet times all come to their end")
        self._now_ns = max([self._now_ns, *(t.submit.deadline_ns for t in told)]) + 1
        params = SamplingParams(2, temperature=0.0, top_p=1.0, top_k=0, seed=0)
        self._submit(Submit(f"last {self.num_steps}", pack_token_ids([1]), params, self._now_ns))
        while self._scheduler.has_work:
            self._turn()
        check_quiet(self._scheduler, self.shape)
        self._check_rest()
        self.faults.is_calm = False

    def _check_rest(self) -> None:
        self.ledger.check_all_over()
        stats = self._scheduler.stats(0)
        claim(not stats.num_blocks_used and not stats.num_running, "the gauges are at rest")
        claim(stats.finishes == +self.ledger.ends, "each end is counted by its reason")
        self.seen["preemptions"] += stats.num_preemptions
