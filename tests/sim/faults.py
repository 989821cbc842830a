"""`Faults`: what goes wrong in a history. A seed switches each kind on or off, then it strikes by
chance ("buggify", as FoundationDB's simulation calls it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.block_pool import BlockPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class Faults:
    """Dice that can be taken away."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.is_calm = False
        self.is_device_broken = False
        self.has_broken_a_step = False
        self._chance = {
            "step raises": rng.choice([0, 0, 0.02, 0.1]),
            "not finite": rng.choice([0, 0, 0.02, 0.1]),
            "no room": rng.choice([0, 0, 0.05, 0.3]),
            "load fails": rng.choice([0, 0.3]),
            "abort somebody": rng.choice([0, 0.03, 0.1]),
            "slow": rng.choice([0, 0, 0.01]),
            "late device": rng.choice([0, 0.2]),
            "late draw": rng.choice([0, 0, 0.1]),
            "forced": rng.choice([0, 0, 0.1, 0.4]),
        }

    def has(self, kind: str) -> bool:
        """Whether this history knows it at all."""
        return bool(self._chance[kind])

    def strikes(self, kind: str) -> bool:
        chance = self._chance[kind]
        return bool(chance) and not self.is_calm and self._rng.random() < chance

    def raises_at(self, num_sequences: int) -> int | None:
        """The sequence at which this step raises: -1 before anything is noted, `num_sequences - 1`
        when all but the last one's is written; None: it does not."""
        if self.is_device_broken:
            self.has_broken_a_step = True
            return -1
        if self.strikes("step raises"):
            return self._rng.randint(-1, num_sequences - 1)
        return None

    def not_finite_index(self, num_sequences: int) -> int | None:
        """The sequence whose numbers are not finite in this step."""
        return self._rng.randrange(num_sequences) if self.strikes("not finite") else None


class StingyPool(BlockPool):
    """A pool that says at times that it has no room although it has.

    That is legal for the full group when a sequence is admitted or decodes, while somebody runs:
    he will give his blocks back. It must not ask for more in the middle of a prompt, so a refusal
    there is found as the assertion that it breaks. Windows reserve theirs and are not refused.
    """

    def __init__(self, num_blocks: int, block_size: int, refuses: Callable[[], bool]) -> None:
        super().__init__(num_blocks, block_size)
        self._refuses = refuses

    def allocate(self, count: int) -> list[int] | None:
        return None if self._refuses() else super().allocate(count)
