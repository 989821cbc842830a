"""`Court`: the dice and the judges that both kinds of history have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from engine.protocol import Submit, pack_token_ids
from tests.sim.failure import claim
from tests.sim.faults import Faults, StingyPool
from tests.sim.hash_model import Reference
from tests.sim.judge import (
    WatchedQueue,
    check_conservation,
    check_plan,
    check_work_conserved,
    seen_in,
)
from tests.sim.ledger import Ledger
from tests.sim.scenario import MODELS, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.protocol import Abort, AbortReason
    from engine.scheduler import Scheduler
    from engine.step import StepPlan
    from tests.sim.scenario import ModelShape

_REASONS: list[AbortReason] = ["abort", "timeout", "stop"]
_STEPS_A_FULL_CHECK = 8
"""Sums are compared before each step; what is whose, which takes longer, before each eighth."""

QUIET_STEPS = 35
"""What a quiet time takes in the mean: so many steps before its target a history grows quiet."""


class Court(ABC):
    """Draws what happens, looks at each step, and counts what the history has come through."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.scenario = Scenario(self.rng)
        self.faults = Faults(self.rng)
        self.ledger = Ledger()
        self.seen: Counter[str] = Counter()
        self.num_steps = 0
        self.num_visits = 0
        self.log: Callable[[str], None] | None = None
        self._poisoned: set[str] = set()

    @abstractmethod
    def now_s(self) -> float: ...

    @abstractmethod
    def clock(self) -> int: ...

    @abstractmethod
    def scheduler_of(self, name: str) -> Scheduler: ...

    @abstractmethod
    def abort(self, request_id: str, reason: AbortReason, sample: int | None) -> None: ...

    def note(self, line: str) -> None:
        if self.log:
            self.log(f"{self.now_s():.6f} {line}")

    def draw_submit(self) -> Submit:
        """A request of any kind."""
        rng, scenario = self.rng, self.scenario
        is_second = rng.random() < scenario.share_of_second_model
        name = MODELS[is_second]
        shape = scenario.shapes[name]
        prompt = scenario.prompt(rng, shape.max_model_len)
        stop_token_ids: tuple[int, ...] = ()
        if rng.random() < 0.3:
            stop_token_ids = (Reference(prompt, shape, 0).token(rng.randrange(8)),)
        is_many = rng.random() < scenario.share_of_samples
        has_deadline = rng.random() < scenario.share_of_deadlines
        now_ns = self.clock()
        self.num_visits += 1
        return Submit(
            request_id=f"{name}{self.num_visits}",
            prompt=pack_token_ids(prompt),
            params=scenario.params(rng, stop_token_ids),
            arrived_ns=now_ns,
            tenant=f"tenant {rng.randrange(scenario.num_tenants)}",
            num_samples=rng.choice([2, 2, 3, 4, 5, 5, 17]) if is_many else 1,
            priority=rng.choice([0, 0, 0, 1, 5]),
            deadline_ns=now_ns + int(rng.expovariate(1 / 0.2) * 1e9) if has_deadline else 0,
            cache_salt=rng.choice(["", "", "", "salt"]),
            model=name if is_second or rng.random() < 0.5 else "",
        )

    def order_abort(self, request_id: str, num_samples: int) -> None:
        """Somebody's answer, or a sample of it, is to end now; perhaps it has ended long ago."""
        sample = self.rng.choice([None, self.rng.randrange(num_samples)])
        self.abort(request_id, self.rng.choice(_REASONS), sample)

    def adopt(self, shape: ModelShape, scheduler: Scheduler) -> None:
        """Watch a model that has just come; one that was there already is `Ready` once more."""
        batch = scheduler._batch
        if isinstance(batch.waiting, WatchedQueue):
            return
        is_dynamic = shape.config.policy == "dynamic"
        bound = self.scenario.max_overtaken if is_dynamic else None
        batch.waiting = WatchedQueue(batch.waiting, bound)
        full = batch.cache.groups[0]
        if full.window is None:
            full.pool = StingyPool(
                full.pool.num_blocks,
                full.pool.block_size,
                lambda: bool(batch.running) and self.faults.strikes("no room"),
            )

    def on_plan(self, shape: ModelShape, plan: StepPlan) -> list[str]:
        """Before a step: gives the request of each sequence in it."""
        self.num_steps += 1
        scheduler = self.scheduler_of(shape.name)
        check_conservation(scheduler, shape)
        if not self.num_steps % _STEPS_A_FULL_CHECK:
            scheduler.check()
        names = check_plan(scheduler, shape, plan)
        if not self.faults.has("no room"):
            check_work_conserved(scheduler, shape, plan)
        seen_in(scheduler, plan, self.seen)
        if self.log:
            self.note(f"step {self.num_steps} of {shape.name}: {plan}")
        if self.faults.strikes("abort somebody"):
            told = self.ledger.draw(self.rng)
            self.order_abort(told.submit.request_id, told.submit.num_samples)
        return names

    def excuse(self, names: list[str]) -> None:
        """The step of these raises."""
        self.seen["steps that raised"] += 1
        for name in names:
            self.ledger[name].is_excused = True

    def poisoned(self, name: str) -> None:
        """From now on this request may draw None, and nobody else."""
        self._poisoned.add(name)

    def on_not_finite(self, name: str) -> None:
        self.seen["numbers that were not finite"] += 1
        claim(name in self._poisoned, "numbers that are not finite stay with their request")
        self.ledger[name].is_excused = True

    def see_aborted(self, abort: Abort, schedulers: list[Scheduler]) -> None:
        """In which state a request is hit."""
        state = "over"
        for scheduler in schedulers:
            request = scheduler._requests.get(abort.request_id)
            if request and not request.is_announced:
                is_running = request.sequences[0].row >= 0
                state = "in prefill" if is_running else "waiting"
                if not is_running and request.num_preemptions:
                    state = "preempted"
            elif request:
                is_whole = all(s.row >= 0 for s in request.sequences)
                state = "decoding" if is_whole else "with samples that wait"
        self.seen[f"aborted while {state}"] += 1
