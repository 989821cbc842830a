"""The engine in a process of its own: started, watched, and started again when it dies.

The routes notice nothing: they hold the same `EngineClient` with the same channels. Here the far
end of the channels is a supervisor that carries encoded messages to and from the process over a
socket pair, and that turns the end of a process into a `Crashed` event.
"""

from __future__ import annotations

import logging
import math
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import anyio
import msgspec

from engine.client import EngineClient
from engine.errors import STARTUP_FAILED
from engine.protocol import ENGINE, Crashed, Down, Frame, Ready, Stats, decode_event, encode
from engine.wire import BrokenWire, pack_body, pack_commands, unpack_frame
from engine.wire_stream import open_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import Process
    from anyio.streams.memory import MemoryObjectReceiveStream

    from engine.config import EngineConfig
    from engine.wire_stream import WireStream

logger = logging.getLogger(__name__)

_DYING_S = 0.3


@asynccontextmanager
async def open_process(config: EngineConfig) -> AsyncIterator[EngineClient]:
    """Start the engine process and give the client at once; `client.wait_ready()` tells the rest.

    Leaving the block closes the socket, at which the process ends after its running step.
    """
    command_send, command_receive = anyio.create_memory_object_stream[bytes](math.inf)
    client = EngineClient(command_send, config.scheduler)
    supervisor = EngineSupervisor(config, command_receive, client.take_in)
    with command_send, closing(client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.run, name="engine supervisor")
            try:
                yield client
            finally:
                tasks.cancel_scope.cancel()


class EngineSupervisor:
    """Runs one life of the engine process after the other."""

    def __init__(
        self,
        config: EngineConfig,
        commands: MemoryObjectReceiveStream[bytes],
        deliver: Callable[[Frame], None],
    ) -> None:
        self._config = config
        self._commands = commands
        self._deliver = deliver

    async def run(self) -> None:
        """Until cancelled, or until the engine says at its first start that it cannot start."""
        watchdog = self._config.watchdog
        num_crashes, has_ever_served = 0, False
        with self._commands:
            while True:
                life = Life(self._config, self._commands, self._deliver)
                await life.run()
                has_ever_served |= life.has_served
                if (
                    life.down is not None
                    and life.down.code == STARTUP_FAILED
                    and not has_ever_served
                ):
                    self._say(life.down)
                    return
                # A process that served for a while starts the counting of its crashes afresh.
                num_crashes = 1 if life.served_s > watchdog.good_life_s else num_crashes + 1
                doubled = watchdog.backoff_s * 2 ** min(num_crashes - 1, 16)
                delay_s = min(doubled, watchdog.max_backoff_s)
                logger.error("the engine process ended: %s; again in %g s", life.end, delay_s)
                self._say(Crashed(life.end))
                await anyio.sleep(delay_s)

    def _say(self, event: Crashed | Down) -> None:
        self._deliver([(ENGINE, encode(event))])


class Life:
    """One engine process from its start to its end, which `end` then describes."""

    def __init__(
        self,
        config: EngineConfig,
        commands: MemoryObjectReceiveStream[bytes],
        deliver: Callable[[Frame], None],
    ) -> None:
        self.end = ""
        self.down: Down | None = None
        self._config = config
        self._commands = commands
        self._deliver = deliver
        self._heard_s = 0.0
        self._has_spoken = False
        self._ready_s = math.inf
        self._ended_s = 0.0
        self._step_started_ns = 0
        self._pardoned_s = 0.0

    @property
    def has_served(self) -> bool:
        return self._ready_s < math.inf

    @property
    def served_s(self) -> float:
        """Seconds between ready and the end."""
        return max(self._ended_s - self._ready_s, 0.0)

    async def run(self) -> None:
        """Start the process and serve it until it ends or has to be killed."""
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                process = await _start(theirs)
                end = ours.dup()
        except OSError as error:  # no descriptors or no memory now: perhaps later
            self.end = f"it cannot be started: {error.strerror}"
            return
        try:
            async with open_wire(end) as wire:
                await self._serve(wire)
        finally:
            await self._bury(process)

    async def _serve(self, wire: WireStream) -> None:
        self._heard_s = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send, wire)
            tasks.start_soon(self._watch, tasks.cancel_scope)
            try:
                await wire.pump(lambda body: self._take_in(unpack_frame(body)))
            except anyio.EndOfStream:
                self.end = self.down.message if self.down else "its socket closed"
            except (BrokenWire, msgspec.ValidationError):
                self.end = "it sent bytes that are no message"
            tasks.cancel_scope.cancel()

    def _take_in(self, frame: Frame) -> None:
        """Pass a frame on, but for the engine's own end: that is told as a crash."""
        self._heard_s = anyio.current_time()
        self._has_spoken = True
        passed_on: Frame = []
        for request_id, raw in frame:
            if request_id == ENGINE:
                match decode_event(raw):
                    case Stats(step_started_ns=step_started_ns):
                        self._step_started_ns = step_started_ns
                    case Ready():
                        self._ready_s = self._heard_s
                    case Down() as down:
                        self.down = down
                        continue
            passed_on.append((request_id, raw))
        self._deliver(passed_on)

    async def _send(self, wire: WireStream) -> None:
        """All commands that are there go in one frame. A dead far end is seen by the reader."""
        try:
            wire.write(pack_body(msgspec.msgpack.encode(self._config)))
            while True:
                commands = [await self._commands.receive()]
                commands += _all_of(self._commands)
                wire.write(pack_commands(commands))
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            pass

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """End a life that is no life: no sign from its loop, or a step that never ends."""
        watchdog = self._config.watchdog
        now_s = anyio.current_time()
        while not self.end:
            due_s = now_s + watchdog.tick_s
            await anyio.sleep(watchdog.tick_s)
            now_s = anyio.current_time()
            # Time in which we stood still ourselves (a suspended machine) is nobody's silence.
            late_s = now_s - due_s
            self._heard_s += late_s
            self._pardoned_s = self._pardoned_s + late_s if self._step_started_ns else 0.0
            limit_s = watchdog.max_silence_s if self._has_spoken else watchdog.max_start_s
            if now_s - self._heard_s > limit_s:
                self.end = f"no sign of life for {limit_s:g} s"
            elif self._step_started_ns and (
                now_s - self._step_started_ns / 1e9 - self._pardoned_s > watchdog.max_step_s
            ):
                self.end = f"a step took more than {watchdog.max_step_s:g} s"
        scope.cancel()

    async def _bury(self, process: Process) -> None:
        """The closed socket ends a healthy process after its step; a sick one is killed, but one
        that is dying by itself gets the moment that tells its exit code from our signal."""
        self._ended_s = anyio.current_time()
        grace_s = _DYING_S if self.end else self._config.watchdog.stop_grace_s
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(grace_s):
                await process.wait()
            if process.returncode is None:
                process.kill()
            code = await process.wait()
            await process.aclose()
        if code and not self.down:
            self.end += f" (exit code {code})" if code > 0 else f" (signal {-code})"


async def _start(theirs: socket.socket) -> Process:
    return await anyio.open_process(
        [sys.executable, "-m", "engine.child", str(theirs.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=None,
        stderr=None,
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # a Ctrl-C before it ignores signals must not reach it
    )


def _all_of(channel: MemoryObjectReceiveStream[bytes]) -> list[bytes]:
    items: list[bytes] = []
    while True:
        try:
            items.append(channel.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            return items
