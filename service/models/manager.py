"""`ModelManager`: loads the models that are asked for, lets the idle ones go, has requests wait.

See docs/decisions/0011. Everything here happens in one event loop, and nothing between two waits is
ever half done: who has asked `ready` and submits without waiting in between finds the model loaded.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from engine.errors import EngineLoading, EngineUnavailable, OutOfMemory, StartupError
from engine.protocol import Ready
from engine.text.errors import TextError
from service.errors import ModelLoadFailed
from service.models.residency import Resident, Wanted, next_move
from service.served_model import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.client import EngineClient
    from service.models.registry import ModelRegistry, RegisteredModel

RETRY_LOAD_S = 30.0
"""Whoever asks sooner for a model that could not be loaded hears why, at once."""


class ModelState(StrEnum):
    """Where a model stands."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    LEAVING = "leaving"
    FAILED = "failed"


class ReadyModel(msgspec.Struct, frozen=True):
    """A model that takes requests now."""

    served: ServedModel
    ready: Ready


class _Failure(msgspec.Struct, frozen=True):
    reason: str
    until_s: float


class ModelManager:
    """Follows who is wanted, who is there and who is in use. `run` makes the moves.

    Whoever waits for a change here or in the engine waits for one event, the client's.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        get_client: Callable[[], EngineClient],
        first: ServedModel,
        *,
        budget_bytes: float = math.inf,
    ) -> None:
        """`get_client` may raise an `EngineError`; `first` is the text side of the first model."""
        self.registry = registry
        self.client = get_client
        self._budget_bytes = budget_bytes
        self._served = {registry.first.name: first}
        self._num_waiting: dict[str, int] = {}
        self._num_in_flight: dict[str, int] = {}
        self._since_s: dict[str, float] = {}
        self._idle_since_s: dict[str, float] = {}
        self._num_bytes: dict[str, int] = {}
        self._short: set[str] = set()
        self._failures: dict[str, _Failure] = {}
        self._loading: str | None = None
        self._leaving: str | None = None

    def state_of(self, model: RegisteredModel) -> ModelState:
        """Where it stands. While the engine is away the first model is on its way, and no other."""
        name = model.name
        try:
            client = self.client()
            client.check_alive()
        except (EngineLoading, EngineUnavailable):
            return ModelState.LOADING if model is self.registry.first else ModelState.UNLOADED
        if name == self._loading or (client.ready is None and model is self.registry.first):
            return ModelState.LOADING
        if name in client.models:
            return ModelState.LEAVING if name == self._leaving else ModelState.LOADED
        return ModelState.FAILED if name in self._failures else ModelState.UNLOADED

    def fault_of(self, model: RegisteredModel) -> str | None:
        """Why it could not be loaded when that was tried last."""
        failure = self._failures.get(model.name)
        return None if failure is None else failure.reason

    def progress_of(self, model: RegisteredModel) -> float:
        """How much of its weights is loaded, 0 to 1."""
        state = self.state_of(model)
        if state in (ModelState.LOADED, ModelState.LEAVING):
            return 1.0
        try:
            return self.client().load_fraction if state is ModelState.LOADING else 0.0
        except (EngineLoading, EngineUnavailable):
            return 0.0

    def bytes_of(self, model: RegisteredModel) -> int:
        """What its weights and its cache take at present."""
        try:
            ready = self.client().models.get(model.name)
        except (EngineLoading, EngineUnavailable):
            ready = None
        return ready.weight_bytes + ready.kv_cache_bytes if ready else 0

    def ready_now(self, name: str) -> ReadyModel | None:
        """The model, if it takes requests at this moment. Raises an `EngineError` of a dead engine."""
        client = self.client()
        client.check_alive()
        served, ready = self._served.get(name), client.models.get(name)
        if served is None or ready is None or name == self._leaving:
            return None
        return ReadyModel(served, ready)

    async def ready(self, name: str, deadline_s: float = math.inf) -> ReadyModel:
        """The model as soon as it takes requests; it is loaded if need be.

        Raises:
            EngineLoading: it is not there by then.
            EngineUnavailable: the engine is dead, or is being started again.
            ModelLoadFailed: it cannot be loaded.
        """
        if (model := self.ready_now(name)) is not None:
            return model
        with self._asking_for(name):
            while (model := self.ready_now(name)) is None:
                self._check_failure(name)
                with anyio.move_on_after(deadline_s - anyio.current_time()) as patience:
                    await self.client().wait_change()
                if patience.cancelled_caught:
                    raise EngineLoading(self._progress_text(name))
        return model

    @contextmanager
    def in_flight(self, name: str) -> Iterator[None]:
        """For as long as a request of the model is in the engine: it does not go meanwhile."""
        self._num_in_flight[name] = self._num_in_flight.get(name, 0) + 1
        try:
            yield
        finally:
            self._num_in_flight[name] -= 1
            self._idle_since_s[name] = anyio.current_time()
            if not self._num_in_flight[name] and self._is_watched(name):
                self.client().note_change()

    async def load(self, name: str) -> ReadyModel:
        """Load it because somebody says so: also if it has failed a moment ago. Raises as `ready`."""
        self._failures.pop(name, None)
        return await self.ready(name)

    async def unload(self, name: str) -> None:
        """Let it go because somebody says so: its running answers end with an error.

        Raises EngineError: there is no engine to tell."""
        await self._unload(name, self.client())

    async def run(self, client: EngineClient) -> None:
        """Make the moves, until cancelled."""
        while client.down is None:
            wait_s = await self._move(client)
            with anyio.move_on_after(wait_s):
                await client.wait_change()

    async def _move(self, client: EngineClient) -> float:
        """Make one move; how long to wait for a change before the next."""
        if client.ready is None:  # the first model comes by itself, and again after a crash
            return math.inf
        now_s = anyio.current_time()
        move = next_move(self._wanted(client), self._residents(client), self._budget_bytes, now_s)
        self._leaving = move.leaving
        if move.unload is not None:
            await self._unload(move.unload, client)
        elif move.load is not None:
            await self._load(move.load, client)
        else:
            return move.wait_until_s - now_s
        return 0.0

    async def _load(self, name: str, client: EngineClient) -> None:
        model = self.registry.find(name)
        self._loading = name
        client.note_change()
        try:
            if name not in self._served:
                self._served[name] = await anyio.to_thread.run_sync(model.load_text)
            ready = await client.load_model(model.config)
        except OutOfMemory as error:
            if any(not resident.is_pinned for resident in self._residents(client)):
                self._short.add(name)
            else:
                self._fail(name, str(error))
        except (StartupError, TextError) as error:
            self._fail(name, str(error))
        except EngineUnavailable:
            pass  # whoever waits hears it from the client
        else:
            self._failures.pop(name, None)
            self._num_bytes[name] = ready.weight_bytes + ready.kv_cache_bytes
            self._since_s[name] = self._idle_since_s[name] = anyio.current_time()
        finally:
            self._loading = None
            client.note_change()

    async def _unload(self, name: str, client: EngineClient) -> None:
        try:
            await client.unload_model(name)
        except EngineUnavailable:
            pass  # it has gone with the engine
        finally:
            self._short.clear()
            self._since_s.pop(name, None)
            if name != self.registry.first.name:
                self._served.pop(name, None)

    def _fail(self, name: str, reason: str) -> None:
        self._failures[name] = _Failure(reason, anyio.current_time() + RETRY_LOAD_S)
        if name != self.registry.first.name:
            self._served.pop(name, None)

    def _check_failure(self, name: str) -> None:
        failure = self._failures.get(name)
        if failure is None:
            return
        left_s = failure.until_s - anyio.current_time()
        if left_s > 0:
            raise ModelLoadFailed(failure.reason, retry_after_s=math.ceil(left_s))
        del self._failures[name]
        self.client().note_change()

    @contextmanager
    def _asking_for(self, name: str) -> Iterator[None]:
        """It is wanted meanwhile, in the order in which models began to be."""
        self._num_waiting[name] = self._num_waiting.get(name, 0) + 1
        if self._num_waiting[name] == 1:
            self.client().note_change()
        try:
            yield
        finally:
            self._num_waiting[name] -= 1
            if not self._num_waiting[name]:
                del self._num_waiting[name]
                if self._leaving is not None:  # perhaps it need not any more
                    self.client().note_change()

    def _is_watched(self, name: str) -> bool:
        """Whether anything may depend on its being idle."""
        return bool(self._num_waiting or self.registry.find(name).timeout_s)

    def _wanted(self, client: EngineClient) -> list[Wanted]:
        return [
            Wanted(name, self._bytes_of(name), name in self._short)
            for name in self._num_waiting
            if name not in client.models and name not in self._failures
        ]

    def _residents(self, client: EngineClient) -> list[Resident]:
        now_s = anyio.current_time()
        residents = []
        for name, ready in client.models.items():
            model = self.registry.find(name)
            is_idle = not self._num_in_flight.get(name)
            residents.append(
                Resident(
                    name,
                    ready.weight_bytes + ready.kv_cache_bytes,
                    self._since_s.setdefault(name, now_s),
                    self._idle_since_s.setdefault(name, now_s) if is_idle else None,
                    model.is_pinned,
                    model.timeout_s,
                )
            )
        return residents

    def _bytes_of(self, name: str) -> int:
        """What it took when it was there, or its weights."""
        return self._num_bytes.get(name) or self.registry.find(name).card.size_bytes

    def _progress_text(self, name: str) -> str:
        model = self.registry.find(name)
        if self.state_of(model) is not ModelState.LOADING:
            return "The model waits for memory to be loaded."
        return f"The model is loading ({self.progress_of(model):.0%})."
