"""The engine process: `python -m engine.child FD`, started by `engine.process` and by nobody else.

One inherited socket is all it has: the first frame is its `EngineConfig`, then commands come in and
frames go out. It ignores SIGINT and SIGTERM, so that a Ctrl-C or a signal to the process group
drains through the HTTP side, and it ends when the socket closes, however that came about.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec

from engine.actor import EngineActor
from engine.config import EngineConfig
from engine.models.loader import load
from engine.wire import pack_frame, unpack_commands
from engine.wire_stream import open_wire
from observability.log import configure_logging

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

    from engine.protocol import Frame
    from engine.wire_stream import WireStream


def main() -> None:
    """Run until the socket closes or the engine breaks; what it has to say goes over the socket."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    anyio.run(_serve, int(sys.argv[1]))


async def _serve(descriptor: int) -> None:
    async with open_wire(socket.socket(fileno=descriptor)) as wire:
        try:
            hello = await wire.receive()
        except anyio.EndOfStream:
            return  # the service was stopped before it said anything
        config = msgspec.msgpack.decode(hello, type=EngineConfig)
        configure_logging(config.log_level, json=config.log_format == "json")
        commands, inbox = anyio.create_memory_object_stream[bytes](math.inf)
        actor = EngineActor(
            load,
            config,
            inbox,
            partial(_deliver, wire),
            time.monotonic_ns,
        )
        with commands:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_receive, wire, commands, config.watchdog.stop_grace_s)
                await actor.run()
                tasks.cancel_scope.cancel()


async def _receive(
    wire: WireStream, commands: MemoryObjectSendStream[bytes], stop_grace_s: float
) -> None:
    """Until the socket closes: the end of the commands is the end of the actor."""

    def take(body: bytes) -> None:
        for command in unpack_commands(body):
            commands.send_nowait(command)

    with commands, suppress(anyio.EndOfStream):
        await wire.pump(take)
    _end_in_time(stop_grace_s)


def _end_in_time(stop_grace_s: float) -> None:
    """Nobody is left to kill a load or a step that does not end: the process sees to it itself."""
    timer = threading.Timer(stop_grace_s, os._exit, [1])
    timer.daemon = True
    timer.start()


def _deliver(wire: WireStream, frame: Frame) -> None:
    """Without a turn of the event loop: the frame leaves before the next step is planned."""
    with suppress(anyio.BrokenResourceError):  # the service is gone; `_receive` sees the same
        wire.write(pack_frame(frame))


if __name__ == "__main__":
    main()
