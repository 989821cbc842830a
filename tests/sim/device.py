"""`SimDevice` and `Inbox`: the two ends of the actor, without threads and with eyes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import anyio

from engine.device import release_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from anyio.streams.memory import MemoryObjectReceiveStream

    from tests.sim.world import World

Result = TypeVar("Result")


class SimDevice:
    """A `Device` whose work takes virtual time: others act before it is done, and sometimes after.

    Like the device's thread it lets at least one turn of the loop pass, and a cancelled caller
    waits for its end.
    """

    def __init__(self, world: World, *, is_loader: bool) -> None:
        self._world = world
        self._is_loader = is_loader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def run(self, work: Callable[[], Result]) -> Result:
        faults, rng = self._world.faults, self._world.rng
        mean_s = self._world.scenario.mean_step_s * (10 if self._is_loader else 1)
        delay_s = rng.expovariate(1 / mean_s) if mean_s else 0.0
        if faults.strikes("slow"):
            delay_s += 2.5
        with anyio.CancelScope(shield=True):
            if faults.strikes("late device"):
                result = self._do(work)
                await asyncio.sleep(delay_s)
                return result
            await asyncio.sleep(delay_s)
            result = self._do(work)
            if self._is_loader:
                await asyncio.sleep(0)  # its progress is heard before its end, as of a thread
            return result

    def _do(self, work: Callable[[], Result]) -> Result:
        # Collecting garbage is real and takes real milliseconds; the blocks are what counts here.
        return None if work is release_memory else work()  # type: ignore[return-value]


class Inbox:
    """The actor's end of the commands: whoever is taken out is known to be taken."""

    def __init__(
        self, stream: MemoryObjectReceiveStream[bytes], on_command: Callable[[bytes], None]
    ) -> None:
        self._stream = stream
        self._on_command = on_command

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    async def receive(self) -> bytes:
        return self._noted(await self._stream.receive())

    def receive_nowait(self) -> bytes:
        return self._noted(self._stream.receive_nowait())

    def _noted(self, raw: bytes) -> bytes:
        self._on_command(raw)
        return raw
