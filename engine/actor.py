"""`EngineActor`: the single owner of schedulers, caches and models. One task, one device thread.

::

    commands ──▶ admit ──▶ step ──▶ publish ──▶ deliver
                  ▲  waits only if idle │
                  └─────────────────────┘

Every accepted request gets exactly one terminal event, whatever ends the actor: its own fault,
a cancellation, or the end of the commands.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio.lowlevel import checkpoint_if_cancelled

from engine.config import EngineConfig
from engine.device import DeviceThread, release_memory
from engine.errors import (
    ENGINE_ERROR,
    ENGINE_UNAVAILABLE,
    MODEL_NOT_LOADED,
    STARTUP_FAILED,
    OutOfMemory,
    StartupError,
)
from engine.model_engine import ModelEngine
from engine.protocol import (
    ENGINE,
    Abort,
    AbortReason,
    Down,
    EngineEvent,
    Failed,
    Frame,
    LoadFailed,
    Loading,
    LoadModel,
    Stats,
    Submit,
    Unloaded,
    UnloadModel,
    decode_command,
    encode,
)
from engine.total_stats import TotalStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectReceiveStream

    from engine.device import Device
    from engine.runner import LoadedModel
    from engine.scheduler import Addressed

    Load = Callable[[EngineConfig, Callable[[float], None]], LoadedModel]

logger = logging.getLogger(__name__)

_BEAT_S = 1.0
_STOPPED = Down(ENGINE_UNAVAILABLE, "The engine has been stopped.")


class EngineActor:
    """Loads a model, then runs steps while there are requests; loads and unloads others."""

    def __init__(
        self,
        load: Load,
        config: EngineConfig,
        commands: MemoryObjectReceiveStream[bytes],
        deliver: Callable[[Frame], None],
        clock: Callable[[], int],
        make_device: Callable[[], Device] = DeviceThread,
    ) -> None:
        """`load(config, progress)` runs on a device thread; `clock` gives monotonic ns. `deliver`
        takes a frame away at once: it neither waits nor fails."""
        self._load = load
        self._config = config
        self._commands = commands
        self._deliver = deliver
        self._clock = clock
        self._make_device = make_device
        self._models: dict[str, ModelEngine] = {}
        self._loading: dict[str, bool] = {}
        """Models on their way, and whether they are still wanted."""
        self._one_load = anyio.Lock()
        self._is_down = False
        self._totals = TotalStats()
        self._events: list[Addressed] = []
        """For the next frame. Kept here so that no end of the actor loses what a request's end is."""

    async def run(self) -> None:
        """Until cancelled, until the commands end, or until the engine breaks."""
        down = _STOPPED
        with self._commands, self._make_device() as device, self._make_device() as loader:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._beat)
                    down = await self._serve_until_end(device, loader, tasks)
                    self._say(down)  # at once: a load that has begun is waited for
                    tasks.cancel_scope.cancel()
            finally:
                self._say(down)

    async def _serve_until_end(self, device: Device, loader: Device, tasks: TaskGroup) -> Down:
        try:
            await self._serve(device, loader, tasks)
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

    async def _serve(self, device: Device, loader: Device, tasks: TaskGroup) -> None:
        await self._open_model(self._config, device, device)
        self._say(self._models[self._config.card.name].ready)
        try:
            while True:
                await checkpoint_if_cancelled()  # a busy loop has no other place to notice
                await self._admit(device, loader, tasks)
                await self._step()
        finally:
            text = "The engine stopped before the answer's end."
            for model in self._models.values():
                self._events += model.fail_all(ENGINE_UNAVAILABLE, text)
            self._publish()

    @property
    def _has_work(self) -> bool:
        return any(model.scheduler.has_work for model in self._models.values())

    async def _step(self) -> None:
        """A step of each model that has work; what was to be told before goes out with the first."""
        for model in list(self._models.values()):
            if model.scheduler.has_work:
                await model.step(self._events)
                self._publish()
        if self._events:
            self._publish()

    async def _admit(self, device: Device, loader: Device, tasks: TaskGroup) -> None:
        """Take in all commands that have come; wait for one only if there is nothing to do."""
        raw = self._receive_nowait() if self._has_work else await self._commands.receive()
        while raw is not None:
            match decode_command(raw):
                case Submit() as submit:
                    self._events += self._submit(submit)
                case Abort(request_id, reason, sample):
                    self._events += self._abort(request_id, reason, sample)
                case LoadModel(name, config):
                    try:
                        wanted = msgspec.msgpack.decode(config, type=EngineConfig)
                    except msgspec.DecodeError:
                        self._say(LoadFailed(name, "What is to be loaded is no configuration."))
                    else:
                        self._begin_load(wanted, device, loader, tasks)
                case UnloadModel(name):
                    await self._unload(name, device)
            raw = self._receive_nowait()

    def _receive_nowait(self) -> bytes | None:
        try:
            return self._commands.receive_nowait()
        except anyio.WouldBlock:
            return None

    def _submit(self, submit: Submit) -> list[Addressed]:
        model = self._models.get(submit.model or self._config.card.name)
        if model is None:
            self._totals.note_refusal()
            failed = Failed(MODEL_NOT_LOADED, "The model is not loaded.")
            return [(submit.request_id, failed)]
        return model.scheduler.submit(submit, self._clock())

    def _abort(self, request_id: str, reason: AbortReason, sample: int | None) -> list[Addressed]:
        models = self._models.values()
        return [e for m in models for e in m.scheduler.abort(request_id, reason, sample)]

    def _begin_load(
        self, config: EngineConfig, device: Device, loader: Device, tasks: TaskGroup
    ) -> None:
        name = config.card.name
        if name in self._models:
            self._say(self._models[name].ready)
        elif name in self._loading:
            if not self._loading[name]:
                self._say(Unloaded(name))  # whoever waits for that shall not wait for ever
            self._loading[name] = True
        else:
            self._loading[name] = True
            tasks.start_soon(self._load_beside, config, device, loader)

    async def _load_beside(self, config: EngineConfig, device: Device, loader: Device) -> None:
        """Load one more model on a thread of its own, so that the steps of the others go on."""
        name = config.card.name
        fault, code = "", STARTUP_FAILED
        try:
            await self._open_model(config, device, loader)
        except StartupError as error:
            fault, code = str(error), error.code
        except Exception:
            logger.exception("loading %s failed", name)
            fault = f"{name} cannot be loaded; see the server's log."
        if fault:  # the exception is gone by now, and with it the last reference to the weights
            await loader.run(release_memory)
            self._say(LoadFailed(name, fault, code))
        if not self._loading.pop(name):
            await self._unload(name, device)
        elif not fault:
            self._say(self._models[name].ready)

    async def _open_model(self, config: EngineConfig, device: Device, loader: Device) -> None:
        """Raises StartupError: it cannot be loaded, or is more than the memory that is left."""
        name = config.card.name
        progress = self._progress(name)
        async with self._one_load:  # the next one sees what this one has taken
            config = self._within_budget(config)
            loaded = await loader.run(lambda: self._load(config, progress))
            self._models[name] = ModelEngine(loaded, config.scheduler, device, self._clock)

    def _within_budget(self, config: EngineConfig) -> EngineConfig:
        """Told of as much memory as the loaded models leave."""
        if not self._config.memory_bytes:
            return config
        held = [m.ready.weight_bytes + m.ready.kv_cache_bytes for m in self._models.values()]
        left = self._config.memory_bytes - sum(held)
        if left <= 0:
            raise OutOfMemory(
                f"{', '.join(self._models)} take all of the {self._config.memory_bytes / 2**30:.1f} "
                f"GiB that models may take: unload one of them before {config.card.name}."
            )
        return msgspec.structs.replace(config, memory_bytes=left)

    async def _unload(self, name: str, device: Device) -> None:
        if name in self._loading:
            self._loading[name] = False  # it goes as soon as it has come
            return
        model = self._models.pop(name, None)
        if model is not None:
            text = "The model was unloaded before the answer's end."
            self._events += model.fail_all(MODEL_NOT_LOADED, text)
            self._totals.note_end(model.scheduler.stats(0))  # first: totals never fall
            self._publish()
            del model
            await device.run(release_memory)
        self._say(Unloaded(name))

    def _publish(self) -> None:
        """One frame with every event and the numbers as they are now."""
        frame = [(request_id, encode(event)) for request_id, event in self._events]
        self._events.clear()
        frame.append((ENGINE, encode(self._stats())))
        self._send(frame)

    def _stats(self) -> Stats:
        return self._totals.with_running(
            [model.scheduler.stats(model.step_started_ns) for model in self._models.values()]
        )

    def _say(self, event: EngineEvent) -> None:
        self._send([(ENGINE, encode(event))])
        self._is_down |= isinstance(event, Down)

    def _send(self, frame: Frame) -> None:
        """An engine that is down is silent, though a load may still be running."""
        if not self._is_down:
            self._deliver(frame)

    def _progress(self, model: str) -> Callable[[float], None]:
        """For the device thread: frames are delivered in the event loop, in a task's context."""
        loop, context = asyncio.get_running_loop(), copy_context()

        def report(fraction: float) -> None:
            loop.call_soon_threadsafe(self._say, Loading(fraction, model), context=context)

        return report
