"""An asyncio event loop in which time is a number: it never waits, it jumps to the next timer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.sim.failure import SimulationFailure

if TYPE_CHECKING:
    from collections.abc import Coroutine

_TURN_S = 1e-6
"""What a turn of the loop takes: whoever spins finds that time goes on."""

_MAX_TURNS = 100_000
"""Of a loop that has always something to do and never comes to its next timer."""


class VirtualLoop(asyncio.BaseEventLoop):
    """One thread, no sockets, no clock: the same callbacks in the same order each time."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 1000.0
        self._num_turns = 0
        self._clock_resolution = _TURN_S  # type: ignore[assignment]
        self._selector = self
        self.set_exception_handler(lambda *_: None)  # a failure leaves tasks behind

    def time(self) -> float:
        return self._now_s

    def now_ns(self) -> int:
        return int(self._now_s * 1e9)

    def select(self, timeout: float | None) -> list[Any]:
        """The selector's place in the loop: nothing ever comes from outside."""
        if timeout is None:
            raise SimulationFailure("somebody waits for ever: no timer, and nothing to do")
        self._num_turns = self._num_turns + 1 if not timeout else 0
        if self._num_turns > _MAX_TURNS:
            raise SimulationFailure("the event loop spins and never comes to rest")
        self._now_s += timeout or _TURN_S
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run_virtual(loop: VirtualLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end, and close the loop."""
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
