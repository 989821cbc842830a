"""A fake engine behind the real client: real channels, real messages, no torch.

`FakeEngine` stands where `engine.inline.open_inline` stands::

    engine = FakeEngine(answer=[5, 6, 7])
    async with engine(config) as client:          # or create_app(..., open_engine=engine)
        with client.generate(submit) as conversation: ...

What it answers is either a list of token ids (one `Tokens` event each, then `Finished`) or a
function from the `Submit` to the events. A test steers it through the methods and reads
`submits` and `aborts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Literal

import anyio
import msgspec

from engine.client import EngineClient
from engine.config import EngineConfig, SchedulerConfig
from engine.errors import ENGINE_ERROR, ENGINE_UNAVAILABLE
from engine.protocol import (
    ENGINE,
    Abort,
    Down,
    EngineEvent,
    Failed,
    Finished,
    LoadFailed,
    Loading,
    LoadModel,
    Ready,
    RequestEvent,
    RequestTimings,
    Started,
    Stats,
    Submit,
    Tokens,
    Unloaded,
    UnloadModel,
    decode_command,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.streams.memory import MemoryObjectReceiveStream

Script = Callable[[Submit], Sequence[RequestEvent]]

READY = Ready(
    model="kvorum-mini",
    device="cpu",
    dtype="float32",
    num_blocks=64,
    block_size=16,
    max_model_len=512,
    max_batch_tokens=512,
    num_parameters=1_000_000,
    weight_bytes=4_000_000,
    kv_cache_bytes=1_000_000,
)


def timings_of(submit: Submit) -> RequestTimings:
    """Plausible timings: queue, prefill, first and last token in order, a millisecond apart."""
    start, ms = submit.arrived_ns, 1_000_000
    return RequestTimings(
        queues=((start, start + ms),),
        prefill_start_ns=start + ms,
        first_token_ns=start + 2 * ms,
        last_token_ns=start + 3 * ms,
        num_prefill_chunks=1,
        num_decode_steps=1,
    )


def finished(
    submit: Submit, num_output_tokens: int, reason: Literal["stop", "length", "abort"] = "stop"
) -> Finished:
    """The terminal event of a request that ended well."""
    num_prompt_tokens = len(submit.prompt_token_ids)
    return Finished(reason, num_prompt_tokens, 0, num_output_tokens, timings_of(submit))


def answer_with(token_ids: Sequence[int]) -> Script:
    """Started, one `Tokens` for each id up to `max_tokens`, Finished; a stop token counts too."""

    def script(submit: Submit) -> list[RequestEvent]:
        given = list(token_ids)[: submit.params.max_tokens]
        reason: Literal["stop", "length"] = "stop" if len(given) == len(token_ids) else "length"
        return [
            Started(len(submit.prompt_token_ids), 0),
            *[Tokens((token_id,)) for token_id in given],
            finished(submit, len(given) + (reason == "stop"), reason),
        ]

    return script


class FakeEngine:
    """Answers by script; one use each. `hold_after` events of a request wait for `resume()`.

    `hold_after=None` never waits; 0 holds a request before `Started`, 1 after it, and so on.
    """

    def __init__(
        self,
        answer: Sequence[int] | Script = (1, 2, 3),
        *,
        ready: bool = True,
        hold_after: int | None = None,
    ) -> None:
        self.submits: list[Submit] = []
        self.aborts: list[Abort] = []
        self.is_closed = False
        self.submitted = anyio.Event()
        """Set by the first `Submit`."""
        self.aborted = anyio.Event()
        """Set by the first `Abort` of a request that still ran."""
        self._script = answer if callable(answer) else answer_with(answer)
        self.is_ready_at_once = ready
        self._hold_after = hold_after
        self._resumed = anyio.Event()
        self._running: dict[str, anyio.CancelScope] = {}
        self._num_steps = 0
        self._finishes: dict[str, int] = {}
        self._client: EngineClient | None = None
        self._ready = READY
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self.load_faults: dict[str, list[LoadFailed]] = {}
        """Of models that cannot be loaded: one fault for each try, then it works."""
        self.may_load = anyio.Event()
        self.may_load.set()
        """Replaced by an event that is not set, it holds loads until it is."""

    @asynccontextmanager
    async def __call__(self, config: EngineConfig | None = None) -> AsyncIterator[EngineClient]:
        if config is not None:
            self._ready = msgspec.structs.replace(READY, model=config.card.name)
        limits = config.scheduler if config is not None else SchedulerConfig()
        command_send, commands = anyio.create_memory_object_stream[bytes](math.inf)
        client = self._client = EngineClient(command_send, limits)
        async with anyio.create_task_group() as tasks:
            with command_send, commands, closing(client):
                tasks.start_soon(self._serve, commands, tasks)
                if self.is_ready_at_once:
                    self.become_ready()
                    await client.wait_ready()
                try:
                    yield client
                finally:
                    tasks.cancel_scope.cancel()
                    self.is_closed = True

    def load(self, fraction: float) -> None:
        """Report the progress of loading."""
        self._tell(Loading(fraction))

    def become_ready(self, ready: Ready | None = None) -> None:
        """Report that requests are taken from now on."""
        self._tell(ready or self._ready)
        self._tell_stats()

    def tell(self, stats: Stats) -> None:
        """Push a snapshot of the caller's."""
        self._tell(stats)

    def resume(self) -> None:
        """Let all held requests go on, and later ones never wait."""
        self._resumed.set()

    def die(self, code: str = ENGINE_UNAVAILABLE, message: str = "The engine has died.") -> None:
        """Fail whatever runs, then report `Down`, as the real engine does."""
        for request_id in list(self._running):
            self._running.pop(request_id).cancel()
            self._send(request_id, Failed(ENGINE_ERROR, "The engine has died."))
        self._tell(Down(code, message))

    async def _serve(
        self, commands: MemoryObjectReceiveStream[bytes], tasks: anyio.abc.TaskGroup
    ) -> None:
        async for raw in commands:
            match decode_command(raw):
                case Submit() as submit:
                    self.submits.append(submit)
                    scope = self._running[submit.request_id] = anyio.CancelScope()
                    tasks.start_soon(self._answer, submit, scope)
                    self._tell_stats()
                    self.submitted.set()
                case LoadModel(name):
                    self.loads.append(name)
                    tasks.start_soon(self._load, name)
                case UnloadModel(name):
                    self.unloads.append(name)
                    self._tell(Unloaded(name))
                case Abort(request_id, reason, sample) as abort:
                    self.aborts.append(abort)
                    if sample is None and request_id in self._running:
                        self._running.pop(request_id).cancel()
                        self._end(
                            request_id,
                            Finished("abort", 0, 0, 0, RequestTimings()),
                            "abort" if reason == "abort" else reason,
                        )
                        self.aborted.set()

    async def _load(self, name: str) -> None:
        await self.may_load.wait()
        if faults := self.load_faults.get(name):
            self._tell(faults.pop(0))
        else:
            self._tell(msgspec.structs.replace(self._ready, model=name))

    async def _answer(self, submit: Submit, scope: anyio.CancelScope) -> None:
        with scope:
            for index, event in enumerate(self._script(submit)):
                if index == self._hold_after:
                    await self._resumed.wait()
                await anyio.lowlevel.checkpoint()
                if isinstance(event, Finished | Failed):
                    self._running.pop(submit.request_id, None)
                    reason = event.reason if isinstance(event, Finished) else "error"
                    self._end(submit.request_id, event, reason)
                    return
                self._num_steps += 1
                self._send(submit.request_id, event)

    def _end(self, request_id: str, event: RequestEvent, reason: str) -> None:
        self._finishes = {**self._finishes, reason: self._finishes.get(reason, 0) + 1}
        self._tell_stats()
        self._send(request_id, event)

    def _tell_stats(self) -> None:
        self._tell(
            Stats(
                num_running=len(self._running),
                num_blocks=READY.num_blocks,
                num_blocks_used=len(self._running),
                num_steps=self._num_steps,
                finishes=self._finishes,
            )
        )

    def _tell(self, event: EngineEvent) -> None:
        self._send(ENGINE, event)

    def _send(self, request_id: str, event: RequestEvent | EngineEvent) -> None:
        assert self._client is not None, "the fake engine is not open"
        self._client.take_in([(request_id, encode(event))])


def open_fake_engine(
    config: EngineConfig | None = None, answer: Sequence[int] | Script = (1, 2, 3)
):
    """A ready engine that gives `answer` to every request; see `FakeEngine` for more control."""
    return FakeEngine(answer)(config)
