"""What the actor knows of a model: a runner of steps, and what it runs on. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.protocol import Ready
    from engine.step import StepPlan, StepResult


class Runner(Protocol):
    """Runs a step; see `model_runner.ModelRunner`."""

    def execute(self, plan: StepPlan) -> StepResult:
        """Blocks; called on the device thread only. May raise: the plan's requests then fail."""
        ...

    def probe(self) -> None:
        """Run the smallest step there is, touching no block of a request. Raises if even that
        fails: then the device is broken, and not some request."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can run steps. `groups` has the number of blocks and the window (None: all) of
    each group of layers, the widest first."""

    runner: Runner
    ready: Ready
    groups: list[tuple[int, int | None]]
