"""`simulate`: one seed, one history; a failure names the seed and how to see it again."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.policies import dynamic
from tests.sim.crowd import Crowd
from tests.sim.failure import InjectedFault, SimulationFailure
from tests.sim.virtual_time import VirtualLoop, run_virtual
from tests.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sim.court import Court

NUM_STEPS = 300

_TELLING = (
    SimulationFailure,
    BaseExceptionGroup,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What else is in hand when something is raised is how the event loop works."""

_LOGGERS = ("engine.actor", "engine.model_engine")


def simulate(
    seed: int, num_steps: int = NUM_STEPS, log: Callable[[str], None] | None = None
) -> World:
    """The history of a whole engine: actor, client, scheduler and cache in virtual time.

    Raises:
        SimulationFailure: a promise is broken; the message has the seed and the promise.
    """
    loop = VirtualLoop()
    world = World(seed, num_steps, loop)
    world.log = log
    _judge(world, f"{seed}", lambda: run_virtual(loop, world.run()))
    return world


def simulate_crowd(
    seed: int, num_steps: int = NUM_STEPS, log: Callable[[str], None] | None = None
) -> Crowd:
    """The history of a scheduler alone. Raises like `simulate`."""
    crowd = Crowd(seed, num_steps)
    crowd.log = log
    _judge(crowd, f"--crowd {seed}", crowd.run)
    return crowd


def _judge(court: Court, arguments: str, run: Callable[[], None]) -> None:
    with _ears() as faults, _bound_of_passing_over(court.scenario.max_overtaken):
        cause: BaseException | None = None
        try:
            run()
        except BaseException as error:
            cause = _cause(error, faults)
            if cause is None:
                raise
        else:
            cause = next((f for f in faults if not isinstance(f, InjectedFault)), None)
    if cause is not None:
        raise SimulationFailure(
            f"seed {arguments}, step {court.num_steps}: {cause!r}\n"
            f"see it again: python -m tests.sim.replay {arguments}"
        ) from cause


def _cause(error: BaseException, faults: list[BaseException]) -> BaseException | None:
    """What has gone wrong first; None: the run was interrupted from outside."""
    own = [fault for fault in faults if not isinstance(fault, InjectedFault)]
    leaves = [*own, *_leaves(error)]
    if any(isinstance(leaf, KeyboardInterrupt | SystemExit) for leaf in leaves):
        return None
    return min(leaves, key=lambda leaf: getattr(leaf, "number", -1))


def _leaves(error: BaseException) -> list[BaseException]:
    """It, or the members of a group; and what was being handled when it was raised."""
    leaves = [leaf for part in getattr(error, "exceptions", ()) for leaf in _leaves(part)]
    if not leaves:
        leaves = [error]
    earlier = error.__context__
    if isinstance(earlier, _TELLING):
        leaves += _leaves(earlier)
    return leaves


@contextmanager
def _ears() -> Iterator[list[BaseException]]:
    """The exceptions that the engine logs and survives; nothing of it is printed."""
    heard: list[BaseException] = []

    def listen(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            heard.append(record.exc_info[1])
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(listen)
    try:
        yield heard
    finally:
        for logger in loggers:
            logger.removeFilter(listen)


@contextmanager
def _bound_of_passing_over(max_overtaken: int) -> Iterator[None]:
    """A smaller bound than the product's is reached in a short history too."""
    usual = dynamic.MAX_OVERTAKEN
    dynamic.MAX_OVERTAKEN = max_overtaken
    try:
        yield
    finally:
        dynamic.MAX_OVERTAKEN = usual
