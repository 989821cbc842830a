"""An engine without a model behind the real client: frames of tokens at a fixed cadence.

As the real engine does, it sends one frame a step: one `Tokens` event for each running request and
the `Stats`. All requests of a step get the same event, encoded once, so that what is measured is
the way from the frame to the socket and not the stub. Its steps run on the server's loop, as those
of the inline engine are published there.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from engine.client import EngineClient
from engine.protocol import (
    ENGINE,
    Abort,
    Finished,
    Frame,
    Ready,
    RequestTimings,
    Started,
    Stats,
    Submit,
    Tokens,
    decode_command,
    encode,
)
from engine.text.tokenizer import Tokenizer
from tests.perf.gateway.cadence import MARK, Cadence, stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream

    from engine.config import EngineConfig

_READY = Ready(
    model="stub",
    device="none",
    dtype="none",
    num_blocks=1,
    block_size=1,
    max_model_len=2048,
    max_batch_tokens=1,
    num_parameters=0,
    weight_bytes=0,
    kv_cache_bytes=0,
)


@asynccontextmanager
async def open_stub(config: EngineConfig) -> AsyncIterator[EngineClient]:
    """Stands where `engine.inline.open_inline` stands."""
    command_send, commands = anyio.create_memory_object_stream[bytes](math.inf)
    client = EngineClient(command_send, config.scheduler)
    engine = StubEngine(client.take_in, Tokenizer.from_folder(Path(config.card.path)))
    with command_send, commands, closing(client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run, commands)
            yield client
            tasks.cancel_scope.cancel()


class StubEngine:
    """Answers never end: the load generator leaves, and what is measured is the steady state."""

    def __init__(self, deliver: Callable[[Frame], None], tokenizer: Tokenizer) -> None:
        self._deliver = deliver
        self._tokenizer = tokenizer
        self._steps: dict[Cadence, _Steps] = {}
        self._cadences: dict[str, Cadence] = {}

    async def run(self, commands: MemoryObjectReceiveStream[bytes]) -> None:
        """Take commands until the client closes its end."""
        self._deliver([(ENGINE, encode(_READY))])
        try:
            async for raw in commands:
                match decode_command(raw):
                    case Submit() as submit:
                        self._take(submit)
                    case Abort(request_id):
                        self._drop(request_id)
        finally:
            for steps in self._steps.values():
                steps.stop()

    def _take(self, submit: Submit) -> None:
        cadence = Cadence.from_seed(submit.params.seed)
        if not cadence.period_us:
            return
        self._cadences[submit.request_id] = cadence
        started = encode(Started(len(submit.prompt_token_ids), 0))
        self._deliver([(submit.request_id, started)])
        if cadence not in self._steps:
            self._steps[cadence] = _Steps(cadence, self._deliver, self._tokenizer)
        self._steps[cadence].add(submit.request_id)

    def _drop(self, request_id: str) -> None:
        cadence = self._cadences.pop(request_id, None)
        if cadence is not None:
            self._steps[cadence].remove(request_id)
        ended = encode(Finished("abort", 0, 0, 0, RequestTimings()))
        self._deliver([(request_id, ended)])


class _Steps:
    """The steps of all requests of one cadence: a timer of the loop, and a frame when it rings.

    A timer and not a task, and nothing encoded twice: at a thousand steps a second the stub would
    otherwise cost as much as what is measured.
    """

    def __init__(
        self, cadence: Cadence, deliver: Callable[[Frame], None], tokenizer: Tokenizer
    ) -> None:
        self._cadence = cadence
        self._deliver = deliver
        self._tokenizer = tokenizer
        self._request_ids: list[str] = []
        self._num_steps = 0
        self._plain = encode(Tokens(tuple(tokenizer.encode(MARK.decode()))))
        self._loop = asyncio.get_running_loop()
        self._period_ns = cadence.period_us * 1000
        self._offset_ns = self._period_ns * cadence.phase // cadence.num_phases
        self._due_ns = 0
        self._timer = self._loop.call_soon(self._wait)

    def add(self, request_id: str) -> None:
        """From the next step on it gets tokens."""
        self._request_ids.append(request_id)

    def remove(self, request_id: str) -> None:
        """It gets none any more."""
        self._request_ids.remove(request_id)

    def stop(self) -> None:
        """No step any more."""
        self._timer.cancel()

    def _wait(self) -> None:
        """For the next point of a grid on the clock. A step that the loop could not take in time is
        skipped, as a real engine would have waited for the loop before it began its next one.
        uvloop's timers ring up to a millisecond early: the same step never comes twice."""
        now_ns = time.monotonic_ns()
        soonest_ns = max(now_ns, self._due_ns)
        past = (soonest_ns - self._offset_ns) // self._period_ns
        self._due_ns = (past + 1) * self._period_ns + self._offset_ns
        self._timer = self._loop.call_later((self._due_ns - now_ns) / 1e9, self._step)

    def _step(self) -> None:
        event = self._plain
        if self._cadence.is_stamped:
            event = encode(Tokens(tuple(self._tokenizer.encode(stamp(self._due_ns)))))
        frame = [(request_id, event) for request_id in self._request_ids]
        self._num_steps += 1
        stats = Stats(num_running=len(frame), num_steps=self._num_steps)
        frame.append((ENGINE, encode(stats)))
        self._deliver(frame)
        self._wait()
