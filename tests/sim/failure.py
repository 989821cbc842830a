"""What ends a simulated history: a broken promise. And what breaks one on purpose: a fault."""

from __future__ import annotations

from itertools import count

_numbers = count()


class SimulationFailure(BaseException):
    """A promise of the engine is broken. No `Exception`: the engine survives those, and this must
    reach the test. `number` counts them: what breaks while a failure tears all down comes later."""

    def __init__(self, promise: str) -> None:
        super().__init__(promise)
        self.number = next(_numbers)


class InjectedFault(Exception):
    """A step or a load that fails because the simulation wants it to."""


def claim(holds: object, promise: str) -> None:
    """SimulationFailure unless it `holds`."""
    if not holds:
        raise SimulationFailure(promise)
