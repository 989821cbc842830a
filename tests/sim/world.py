"""`World`: one seed's history: an engine with its visitors, life after life, until enough steps."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING
from zlib import crc32

import anyio
import msgspec

from engine.actor import EngineActor
from engine.client import EngineClient
from engine.errors import StartupError
from engine.protocol import (
    ENGINE,
    Abort,
    Down,
    Loading,
    Ready,
    Stats,
    Submit,
    decode_command,
    decode_event,
)
from engine.runner import LoadedModel
from tests.sim.court import QUIET_STEPS, Court
from tests.sim.device import Inbox, SimDevice
from tests.sim.failure import InjectedFault, claim
from tests.sim.hash_model import HashModel
from tests.sim.judge import check_quiet
from tests.sim.ledger import Ledger, Told
from tests.sim.scenario import MODELS
from tests.sim.visitors import operate, visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from engine.config import EngineConfig
    from engine.protocol import AbortReason, EngineEvent, Frame
    from engine.scheduler import Scheduler
    from engine.step import StepPlan
    from tests.sim.scenario import ModelShape
    from tests.sim.virtual_time import VirtualLoop

_ENDS = ["quiet"] * 5 + ["cancelled", "commands end", "drained", "device breaks"]
_MOST_CLOCK_READS = 5000
"""Between two steps. An engine that has work and plans nothing would read it for ever."""


class World(Court):
    """The one place where a history's dice, clock, engine and judges meet."""

    def __init__(self, seed: int, num_steps: int, loop: VirtualLoop) -> None:
        super().__init__(seed)
        self.loop = loop
        self.digest = 0
        self.ending = ""
        self.left: list[str] = []
        """Who left before the end of his answer."""
        self._target = num_steps - QUIET_STEPS
        self._clock_reads = 0
        self._stats = Stats()
        self._down: Down | None = None

    def now_s(self) -> float:
        return self.loop.time()

    def scheduler_of(self, name: str) -> Scheduler:
        return self.actor._models[name].scheduler

    def abort(self, request_id: str, reason: AbortReason, sample: int | None) -> None:
        self.client.abort(request_id, reason, sample)

    def on_plan(self, shape: ModelShape, plan: StepPlan) -> list[str]:
        self._clock_reads = 0
        return super().on_plan(shape, plan)

    @property
    def is_ending(self) -> bool:
        """What the client says may differ from what the engine says."""
        return bool(self.ending or self._down)

    def clock(self) -> int:
        self._clock_reads += 1
        claim(self._clock_reads < _MOST_CLOCK_READS, "an engine that has work plans a step")
        return self.loop.now_ns()

    def engine_config(self, name: str) -> EngineConfig:
        return self.scenario.shapes[name].engine_config(self.scenario.memory_bytes)

    async def run(self) -> None:
        """Lives of engines, one after the other; the last one ends in quiet."""
        for number in range(12):
            left = self._target - self.num_steps
            if left <= 0 and self.ending == "quiet":
                return
            end = self.rng.choice(_ENDS)
            if left <= 0 or number == 11:
                left, end = 0, "quiet"
            if end != "quiet":
                left = self.rng.randint(0, left)
            await self._live(self.num_steps + left, end)

    # ── one engine's life ────────────────────────────────────────────────────────────────────

    async def _live(self, until_step: int, end: str) -> None:
        self.note(f"a new engine; its end: {end}")
        commands, inbox = anyio.create_memory_object_stream[bytes](math.inf)
        self.commands = commands
        self.client = EngineClient(commands, self.scenario.shapes["m"].config)
        self.ledger, self.ending, self.left = Ledger(), "", []
        self._stats, self._down, self._num_devices = Stats(), None, 0
        self.faults.is_calm = self.faults.is_device_broken = False
        self.faults.has_broken_a_step = False
        self.actor = EngineActor(
            self._load,
            self.engine_config("m"),
            Inbox(inbox, self._on_command),  # type: ignore[arg-type]
            self._deliver,
            self.clock,
            self._make_device,
        )
        with commands, closing(self.client):
            async with anyio.create_task_group() as visitors:
                async with anyio.create_task_group() as engine:
                    engine.start_soon(self.actor.run)
                    for _ in range(self.scenario.num_operators):
                        visitors.start_soon(operate, self)
                    await self._visit_until(until_step, visitors)
                    await self._end(end, visitors)
                    engine.cancel_scope.cancel()
                self.client.close()
        self._check_end()

    async def _visit_until(self, until_step: int, visitors: TaskGroup) -> None:
        rng, scenario = self.rng, self.scenario
        for _ in range(400):
            if self.num_steps >= until_step or self._down:
                return
            for _ in range(rng.randint(1, scenario.max_burst)):
                if self._is_full and rng.random() < 0.9:
                    break  # being refused is worth a try at times, and teaches little
                submit = self.draw_submit()
                visitors.start_soon(visit, self, submit)
                if self.faults.strikes("abort somebody"):
                    self.loop.call_later(
                        rng.expovariate(1 / (5 * scenario.mean_gap_s)),
                        self.order_abort,
                        submit.request_id,
                        submit.num_samples,
                    )
            await anyio.sleep(rng.expovariate(1 / (scenario.mean_gap_s * scenario.max_burst)))

    @property
    def _is_full(self) -> bool:
        limits = self.scenario.shapes["m"].config
        return self.client.num_in_flight >= limits.max_running + limits.max_waiting

    async def _end(self, end: str, visitors: TaskGroup) -> None:
        if self._down:
            self.ending = self.ending or "the first model could not be loaded"
        elif end == "quiet":
            await self._come_to_rest()
        elif end == "commands end":
            self.ending = end
            self.commands.close()
            await self.client.wait_down()
        elif end == "drained":
            with anyio.move_on_after(self.rng.expovariate(1 / 0.1)):
                while self.client.num_in_flight:
                    await anyio.sleep(0.01)
            self.ending = end
            self.client.give_up("shutting_down", "The server is shutting down.")
            await anyio.sleep(self.rng.choice([0, 0, 0.001]))
        elif end == "device breaks":
            self.ending = end
            self.faults.is_device_broken = True
            for _ in range(3):
                visitors.start_soon(visit, self, self.draw_submit())
            with anyio.move_on_after(5):
                await self.client.wait_down()
            claim(
                self._down or not self.faults.has_broken_a_step, "a broken device ends the engine"
            )
        self.ending = self.ending or end
        self.note(f"the end: {self.ending}")
        self.seen[f"ended: {self.ending}"] += 1

    async def _come_to_rest(self) -> None:
        """Faults off and no arrivals: all come to their end within a bounded number of steps, and a
        last visitor after them finds nothing of theirs."""
        self.faults.is_calm = True
        alive = [told for told in self.ledger.told.values() if not told.is_over]
        waiting = self.client.num_in_flight - len(alive)
        longest = max(s.max_model_len for s in self.scenario.shapes.values())
        bound = sum(told.most_steps for told in alive) + max(waiting, 0) * 6 * longest**2
        begun_at = self.num_steps
        with anyio.move_on_after(1000) as time_out:
            while self.client.num_in_flight:
                await anyio.sleep(0.05)
                claim(self.num_steps - begun_at <= bound, "in quiet times all come to their end")
        claim(not time_out.cancelled_caught, "nobody waits for ever")
        last_ns = max((t.submit.deadline_ns for t in self.ledger.told.values()), default=0)
        await anyio.sleep(max(last_ns - self.loop.now_ns(), 0) / 1e9 + 1)
        for name in list(self.client.models):
            params = msgspec.structs.replace(self.scenario.params(self.rng, ()), max_tokens=2)
            self.num_visits += 1
            last = Submit(
                f"{name} last", b"\1\0\0\0", params, self.clock(), model=name, tenant="last"
            )
            await visit(self, last)
        await anyio.sleep(0.01)
        self._check_quiet()

    def _check_quiet(self) -> None:
        for request_id in self.left:
            told = self.ledger.told.get(request_id)
            claim(told is None or told.is_aborted, "who leaves takes his request with him")
        claim(not self.client.num_in_flight, "the client holds nothing")
        claim(not self.client._num_prompt_tokens, "the client counts nothing")
        claim(self.client.models.keys() == self.actor._models.keys(), "all know the same models")
        for name, model in self.actor._models.items():
            check_quiet(model.scheduler, self.scenario.shapes[name])
        claim(self._stats.finishes == +self.ledger.ends, "each end is counted by its reason")
        drawn = sum(told.num_drawn for told in self.ledger.told.values())
        claim(self._stats.num_output_tokens >= drawn, "each token is counted")
        claim(not self._stats.num_waiting and not self._stats.num_running, "the gauges are at rest")
        claim(not self._stats.step_started_ns and not self._stats.head_queued_ns, "and the times")

    def _check_end(self) -> None:
        self.ledger.check_all_over()
        claim(self._down is not None, "the last word of an engine is that it is down")
        claim(not self.client.num_in_flight, "nobody is left in a conversation")

    # ── what the engine is given ─────────────────────────────────────────────────────────────

    def _make_device(self) -> SimDevice:
        self._num_devices += 1
        return SimDevice(self, is_loader=self._num_devices == 2)

    def _load(self, config: EngineConfig, progress: Callable[[float], None]) -> LoadedModel:
        shape = self.scenario.shapes[config.card.name]
        progress(0.5)
        is_first = not self.actor._models and self.client.ready is None
        if self.faults.strikes("load fails") and not (is_first and self.rng.random() < 0.9):
            raise self.rng.choice([StartupError("no room"), InjectedFault("a broken file")])
        if config.memory_bytes and config.memory_bytes < shape.weight_bytes:
            raise StartupError("no room")
        return LoadedModel(HashModel(shape, self), shape.ready, shape.groups)

    # ── what the engine says and does ────────────────────────────────────────────────────────

    def _on_command(self, raw: bytes) -> None:
        self.digest = crc32(raw, self.digest)
        match decode_command(raw):
            case Submit() as submit:
                name = submit.model or MODELS[0]
                is_loaded = name in self.actor._models
                shape = self.scenario.shapes[name]
                claim(submit.request_id not in self.ledger.told, "a request is taken once")
                self.ledger.told[submit.request_id] = Told(submit, shape, is_loaded=is_loaded)
                self.note(f"{submit.request_id} is taken: {submit.num_samples} samples of {shape}")
            case Abort() as abort:
                self.seen["aborts"] += 1
                if abort.request_id in self.ledger.told:  # else: it has been refused
                    self.ledger[abort.request_id].note_abort(abort)
                self.see_aborted(abort, [m.scheduler for m in self.actor._models.values()])
                self.note(f"{abort}")
            case other:
                self.note(f"{type(other).__name__} {other.model}")

    def _deliver(self, frame: Frame) -> None:
        """Every frame of the engine passes here before the client hears it."""
        if not self.actor._has_work:
            self._clock_reads = 0
        for request_id, raw in frame:
            self.digest = crc32(raw, self.digest)
            claim(self._down is None or request_id == ENGINE, "who is down has no more to answer")
            event = decode_event(raw)
            if self.log and not isinstance(event, Stats):
                self.note(f"{request_id or 'engine'}: {event}")
            if request_id == ENGINE:
                self._take(event)  # type: ignore[arg-type]
                continue
            told = self.ledger[request_id]
            is_loaded = told.shape.name in self.actor._models
            told.take(event, is_loaded=is_loaded, is_ending=bool(self.ending))  # type: ignore[arg-type]
            self.ledger.note(told, event)  # type: ignore[arg-type]
        for model in self.actor._models.values():
            if not model.scheduler.has_work:  # else its next step is where it is looked at
                model.scheduler.check()
        self.client.take_in(frame)

    def _take(self, event: EngineEvent) -> None:
        match event:
            case Stats():
                self._check_stats(event)
            case Ready(model):
                self.adopt(self.scenario.shapes[model], self.actor._models[model].scheduler)
            case Down() as down:
                claim(self._down in (None, down), "why an engine is down is said once, or alike")
                if self._down is None:
                    self.ledger.check_all_over()
                self._down = down
                self.seen[f"down: {down.code}"] += 1
                first = self.client.ready is None
                claim(self.ending or first, f"an engine goes on: {down}")
            case Loading(fraction):
                claim(0 <= fraction <= 1, "a fraction is a fraction")

    def _check_stats(self, stats: Stats) -> None:
        schedulers = [model.scheduler for model in self.actor._models.values()]
        claim(
            stats.num_running == sum(len(s._batch.running) for s in schedulers),
            "who runs is counted",
        )
        claim(
            stats.num_waiting == sum(len(s._batch.waiting) for s in schedulers),
            "who waits is counted",
        )
        used = sum(s._cache.num_blocks_used for s in schedulers)
        claim(stats.num_blocks_used == used <= stats.num_blocks, "blocks are counted")
        claim(bool(stats.head_queued_ns) == bool(stats.num_waiting), "who waits has a head")
        before = self._stats
        claim(
            stats.num_steps >= before.num_steps
            and stats.num_prompt_tokens >= before.num_prompt_tokens
            and stats.num_output_tokens >= before.num_output_tokens
            and stats.num_preemptions >= before.num_preemptions
            and all(stats.finishes.get(k, 0) >= n for k, n in before.finishes.items()),
            "totals never fall",
        )
        self.seen["preemptions"] += stats.num_preemptions - before.num_preemptions
        self._stats = stats
