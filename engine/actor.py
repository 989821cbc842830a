"""`EngineActor`: the single owner of scheduler, cache and model. One task, one device thread.

::

    commands ──▶ admit ──▶ execute ──▶ publish ──▶ deliver
                  ▲  waits only if idle    │
                  └────────────────────────┘

Every accepted request gets exactly one terminal event, whatever ends the actor: its own fault,
a cancellation, or the end of the commands.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from engine.device import DeviceThread
from engine.errors import ENGINE_ERROR, ENGINE_UNAVAILABLE, STARTUP_FAILED, StartupError
from engine.kv_cache import CacheGroup, KVCache
from engine.protocol import (
    ENGINE,
    Abort,
    Down,
    EngineEvent,
    Frame,
    Loading,
    Stats,
    Submit,
    decode_command,
    encode,
)
from engine.scheduler import Addressed, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.streams.memory import MemoryObjectReceiveStream

    from engine.config import SchedulerConfig
    from engine.runner import LoadedModel, Runner

logger = logging.getLogger(__name__)

_BEAT_S = 1.0
_STOPPED = Down(ENGINE_UNAVAILABLE, "The engine has been stopped.")


class EngineActor:
    """Loads a model, then runs steps while there are requests."""

    def __init__(
        self,
        load: Callable[[Callable[[float], None]], LoadedModel],
        config: SchedulerConfig,
        commands: MemoryObjectReceiveStream[bytes],
        deliver: Callable[[Frame], None],
        clock: Callable[[], int],
    ) -> None:
        """`load(progress)` runs on the device thread; `clock` gives monotonic ns. `deliver` takes
        a frame away at once: it neither waits nor fails."""
        self._load = load
        self._config = config
        self._commands = commands
        self._deliver = deliver
        self._clock = clock
        self._step_started_ns = 0
        self._scheduler: Scheduler | None = None

    async def run(self) -> None:
        """Until cancelled, until the commands end, or until the engine breaks."""
        down = _STOPPED
        with self._commands, DeviceThread() as device:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._beat)
                    down = await self._serve_until_end(device)
                    tasks.cancel_scope.cancel()
            finally:
                self._say(down)

    async def _serve_until_end(self, device: DeviceThread) -> Down:
        try:
            await self._serve(device)
        except anyio.EndOfStream:
            pass
        except StartupError as error:
            return Down(STARTUP_FAILED, str(error))
        except Exception:
            logger.exception("the engine broke")
            return Down(ENGINE_ERROR, "The engine broke; see the server's log.")
        return _STOPPED

    async def _beat(self) -> None:
        """A sign of life from the event loop, also while weights load and while a step runs."""
        while True:
            self._say(self._stats())
            await anyio.sleep(_BEAT_S)

    async def _serve(self, device: DeviceThread) -> None:
        progress = self._progress()
        loaded = await device.run(lambda: self._load(progress))
        runner, ready = loaded.runner, loaded.ready
        scheduler = self._scheduler = Scheduler(
            KVCache(
                [CacheGroup(count, ready.block_size, window) for count, window in loaded.groups],
                max_step_tokens=ready.max_batch_tokens,
            ),
            self._config,
            max_model_len=ready.max_model_len,
            model=ready.model,
        )
        self._say(ready)
        try:
            while True:
                await checkpoint_if_cancelled()  # a busy loop has no other place to notice
                events = await self._admit(scheduler)
                events += await self._execute(scheduler, runner, device)
                self._publish(events)
        finally:
            text = "The engine stopped before the answer's end."
            self._publish(scheduler.fail(scheduler.request_ids, ENGINE_UNAVAILABLE, text))

    async def _admit(self, scheduler: Scheduler) -> list[Addressed]:
        """Take in all commands that have come; wait for one only if there is nothing to do."""
        events = scheduler.expire(self._clock())
        raw = self._receive_nowait() if scheduler.has_work else await self._commands.receive()
        while raw is not None:
            match decode_command(raw):
                case Submit() as submit:
                    events += scheduler.submit(submit, self._clock())
                case Abort(request_id, reason, sample):
                    events += scheduler.abort(request_id, reason, sample)
            raw = self._receive_nowait()
        return events

    def _receive_nowait(self) -> bytes | None:
        try:
            return self._commands.receive_nowait()
        except anyio.WouldBlock:
            return None

    async def _execute(
        self, scheduler: Scheduler, runner: Runner, device: DeviceThread
    ) -> list[Addressed]:
        """One step. If it fails its requests fail and the others go on, unless the device itself
        is broken: that is the engine's end."""
        plan = scheduler.schedule(self._clock())
        if not plan.rows:
            return []
        self._step_started_ns = self._clock()
        try:
            result = await device.run(lambda: runner.execute(plan))
        except Exception:
            logger.exception("a step of %d sequences failed", len(plan.rows))
            await device.run(runner.probe)
            text = "The model failed while computing this answer."
            return scheduler.fail_step(plan, ENGINE_ERROR, text)
        finally:
            self._step_started_ns = 0
        return scheduler.update(plan, result, self._clock())

    def _publish(self, events: Sequence[Addressed]) -> None:
        """One frame with every event and the numbers as they are now."""
        frame = [(request_id, encode(event)) for request_id, event in events]
        frame.append((ENGINE, encode(self._stats())))
        self._deliver(frame)

    def _stats(self) -> Stats:
        if self._scheduler is None:
            return Stats()
        return self._scheduler.stats(self._step_started_ns)

    def _say(self, event: EngineEvent) -> None:
        self._deliver([(ENGINE, encode(event))])

    def _progress(self) -> Callable[[float], None]:
        """For the device thread: frames are delivered in the event loop, in a task's context."""
        loop, context = asyncio.get_running_loop(), copy_context()

        def report(fraction: float) -> None:
            loop.call_soon_threadsafe(self._say, Loading(fraction), context=context)

        return report
