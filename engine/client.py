"""`EngineClient`: the only object of the engine that the service holds.

It sends commands through one channel and turns frames into a conversation for each request, and
keeps the two promises that make the far end simple: it refuses what exceeds the limits before
anything is sent, and whoever leaves a conversation early aborts its request.
"""

from __future__ import annotations

import math
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, cast

import anyio
import msgspec

from engine.errors import (
    ENGINE_UNAVAILABLE,
    EngineLoading,
    EngineOverloaded,
    EngineUnavailable,
    OutOfMemory,
    StartupError,
)
from engine.protocol import (
    ENGINE,
    Abort,
    AbortReason,
    Crashed,
    Down,
    Failed,
    Finished,
    Frame,
    LoadFailed,
    Loading,
    LoadModel,
    Ready,
    RequestEvent,
    Stats,
    Submit,
    Unloaded,
    UnloadModel,
    decode_event,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.streams.memory import MemoryObjectSendStream

    from engine.config import EngineConfig, SchedulerConfig


MAX_SILENCE_S = 5.0
"""The engine speaks at least once a second; after that long it is not ready, whatever it said."""


_ENDED = "The engine stopped before the answer's end."


class Conversation:
    """The replies to one request, in order; ends with exactly one `Finished` or `Failed`.

    A memory channel carries them, and an event of its own wakes the reader: the channel's `receive`
    would take two turns of the event loop for each token where this takes one.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.is_over = False
        self._send, self._receive = anyio.create_memory_object_stream[bytes](math.inf)
        self._arrived = anyio.Event()

    def deliver(self, raw: bytes) -> None:
        """Put an encoded event into the channel."""
        self._send.send_nowait(raw)
        self._arrived.set()

    async def receive(self) -> list[RequestEvent]:
        """Wait for the next event and take along all that have come with it."""
        while not (events := self._take()):
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return events

    def _take(self) -> list[RequestEvent]:
        """What is in the channel, up to the end of the request."""
        events: list[RequestEvent] = []
        while not self.is_over:
            try:
                event = cast("RequestEvent", decode_event(self._receive.receive_nowait()))
            except anyio.WouldBlock:
                break
            events.append(event)
            self.is_over = isinstance(event, Finished | Failed)
        return events

    def close(self) -> None:
        """Close both ends of the channel."""
        self._send.close()
        self._receive.close()


class EngineClient:
    """Sends commands, routes replies, counts what is in flight, knows the engine's state."""

    def __init__(
        self,
        commands: MemoryObjectSendStream[bytes],
        limits: SchedulerConfig,
    ) -> None:
        self.stats = Stats()
        self.ready: Ready | None = None
        """Of the model that was loaded first."""
        self.models: dict[str, Ready] = {}
        self.load_failures: dict[str, LoadFailed] = {}
        """Why models could not be loaded that were asked for last."""
        self.down: Down | None = None
        self.crash: Crashed | None = None
        self.num_crashes = 0
        self.load_fraction = 0.0
        self._unloading: set[str] = set()
        self._heard_s = -math.inf
        self._end_s = 0.0
        self._mean_gap_s = 0.0
        self._commands = commands
        self._limits = limits
        self._conversations: dict[str, Conversation] = {}
        self._num_prompt_tokens = 0
        self._num_samples = 0
        self._settled = anyio.Event()
        self._stopped = anyio.Event()
        self._changed = anyio.Event()

    @property
    def num_in_flight(self) -> int:
        return len(self._conversations)

    @property
    def is_ready(self) -> bool:
        """It takes requests, and its loop has given a sign of life a moment ago."""
        is_silent = anyio.current_time() - self._heard_s > MAX_SILENCE_S
        return self.ready is not None and self.down is None and not is_silent

    def take_in(self, frame: Frame) -> None:
        """Route a frame: events of requests into their channels, those of the engine here."""
        self._heard_s = anyio.current_time()
        for request_id, raw in frame:
            if request_id == ENGINE:
                self._note(raw)
            elif request_id in self._conversations:  # else: the client has left meanwhile
                self._conversations[request_id].deliver(raw)

    def close(self) -> None:
        """No frame comes any more; nobody is left waiting."""
        self._note_down(Down(ENGINE_UNAVAILABLE, "The engine has stopped."))

    async def wait_ready(self, timeout_s: float = math.inf) -> Ready:
        """What the engine runs on, once it does.

        Raises:
            EngineLoading: it still loads after `timeout_s` seconds.
            EngineUnavailable: it died, or it was stopped; perhaps it is being started again.
        """
        with anyio.move_on_after(timeout_s):
            await self._settled.wait()
        self.check_alive()
        if self.ready is None:
            raise EngineLoading(f"The model is loading ({self.load_fraction:.0%}).")
        return self.ready

    async def wait_change(self) -> None:
        """Until a model has come, gone or failed to come, the engine has died or come back, or
        somebody calls `note_change`."""
        await self._changed.wait()

    def note_change(self) -> None:
        """Let all who wait for a change look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_down(self) -> Down:
        """Why the engine is gone, once it is."""
        await self._stopped.wait()
        assert self.down is not None
        return self.down

    @contextmanager
    def generate(self, submit: Submit) -> Iterator[Conversation]:
        """Submit a request; leaving the block before its end aborts it.

        Nothing in here waits, so that leaving also works in a cancelled task.

        Raises:
            EngineOverloaded: too many requests or prompt tokens are in flight already.
            EngineUnavailable: the engine is dead.
        """
        num_tokens = len(submit.prompt) // 4
        self._admit(num_tokens, submit.num_samples)
        raw = encode(submit)
        conversation = Conversation(submit.request_id)
        self._conversations[submit.request_id] = conversation
        self._num_prompt_tokens += num_tokens
        self._num_samples += submit.num_samples
        with closing(conversation):
            self._send(raw)
            try:
                yield conversation
            finally:
                del self._conversations[submit.request_id]
                self._note_end()
                self._num_prompt_tokens -= num_tokens
                self._num_samples -= submit.num_samples
                if not conversation.is_over:
                    self.abort(submit.request_id, "abort")

    def abort(self, request_id: str, reason: AbortReason, sample: int | None = None) -> None:
        """Ask the engine to end a request, or a sample of it; harmless if it is over."""
        if self.down is None:
            self._send(encode(Abort(request_id, reason, sample)))

    async def load_model(self, config: EngineConfig) -> Ready:
        """Load one more model beside those that are there, and wait until it is.

        Raises:
            StartupError: it cannot be loaded; the text says why and what to do.
            OutOfMemory: there is too little memory for it at present.
            EngineUnavailable: the engine died or was stopped meanwhile.
        """
        name = config.card.name
        self.check_alive()
        self.load_failures.pop(name, None)
        self.load_fraction = 0.0
        self._send(encode(LoadModel(name, msgspec.msgpack.encode(config))))
        while name not in self.models:
            await self._changed.wait()
            self.check_alive()
            if name in self.load_failures:
                failed = self.load_failures[name]
                is_short = failed.code == OutOfMemory.code
                raise (OutOfMemory if is_short else StartupError)(failed.message)
        return self.models[name]

    async def unload_model(self, name: str) -> None:
        """End a model's requests and wait until its memory is free; nothing if it is not there.

        Raises:
            EngineUnavailable: the engine died or was stopped meanwhile.
        """
        self.check_alive()
        self.models.pop(name, None)
        self.note_change()
        self._unloading.add(name)
        self._send(encode(UnloadModel(name)))
        while name in self._unloading:
            await self._changed.wait()
            self.check_alive()

    def _admit(self, num_tokens: int, num_samples: int) -> None:
        limits = self._limits
        self.check_alive()
        most = limits.max_running + limits.max_waiting
        too_many = self._conversations and self._num_samples + num_samples > most
        too_long = self._conversations and (
            self._num_prompt_tokens + num_tokens > limits.max_waiting_tokens
        )
        if too_many or too_long:
            error = EngineOverloaded("The server has as many requests as it can hold. Try later.")
            error.retry_after_s = self._backlog_s()
            raise error

    def _backlog_s(self) -> int:
        """Seconds until those who wait now have left, at the pace of late; 1 to 60."""
        return min(max(math.ceil(self.stats.num_waiting * self._mean_gap_s), 1), 60)

    def _note_end(self) -> None:
        """The mean time between two ends, of about the last ten."""
        now_s = anyio.current_time()
        if self._end_s:
            self._mean_gap_s += (now_s - self._end_s - self._mean_gap_s) / 10
        self._end_s = now_s

    def give_up(self, code: str, message: str) -> None:
        """End every request from this side: the caller is about to close the engine."""
        self._fail_all(code, message)
        for request_id in self._conversations:
            self.abort(request_id, "abort")

    def check_alive(self) -> None:
        """Raises EngineUnavailable: the engine is dead, or is being started again."""
        if self.down is not None:
            raise EngineUnavailable(self.down.message)
        if self.crash is not None:
            raise EngineUnavailable("The engine has died and is being started again.")

    def _send(self, command: bytes) -> None:
        """The channel is unbounded but its load is not: `_admit` bounds the submits in flight,
        and each has a few aborts at most. So nothing is ever lost, and order is kept."""
        try:
            self._commands.send_nowait(command)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._note_down(Down(ENGINE_UNAVAILABLE, "The engine has stopped."))

    def _note(self, raw: bytes) -> None:
        match decode_event(raw):
            case Stats() as stats:
                self.stats = stats
            case Loading(fraction, _):
                self.load_fraction = fraction
            case Ready() as ready:
                self.ready, self.crash = self.ready or ready, None
                self.models[ready.model] = ready
                self.note_change()
                self._settled.set()
            case LoadFailed(model) as failed:
                self.load_failures[model] = failed
                self.note_change()
            case Unloaded(model):
                self.models.pop(model, None)
                self._unloading.discard(model)
                reason = f"{model} was unloaded while it was loaded."
                self.load_failures[model] = LoadFailed(model, reason)
                self.note_change()
            case Crashed() as crash:
                self._note_crash(crash)
            case Down() as down:
                self._note_down(down)
            case _:
                raise StartupError("The engine sent a request's event under no request's id.")

    def _note_down(self, down: Down) -> None:
        """A request whose end was never said hears it from here."""
        self.down = self.down or down
        self.note_change()
        self._fail_all(ENGINE_UNAVAILABLE, _ENDED)
        self._settled.set()
        self._stopped.set()

    def _note_crash(self, crash: Crashed) -> None:
        """Whatever was on its way fails. Its `Submit` may still lie in the channel, for the next
        process to find: the abort behind it sees to that."""
        self.ready, self.crash, self.stats = None, crash, Stats()
        self.models.clear()
        self._unloading.clear()
        self.note_change()
        self.num_crashes += 1
        self.load_fraction = 0.0
        self.give_up(ENGINE_UNAVAILABLE, _ENDED)

    def _fail_all(self, code: str, message: str) -> None:
        failed = encode(Failed(code, message))
        for conversation in self._conversations.values():
            conversation.deliver(failed)
