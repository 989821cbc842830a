"""`SortedQueue`: an order that never changes while a sequence waits."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.sequence import Sequence

    Key = tuple[int, ...]


def by_arrival(sequence: Sequence) -> Key:
    """First come, first served; a preempted one is among the first."""
    return sequence.number, sequence.sample


def by_priority(sequence: Sequence) -> Key:
    """The smallest priority first, then by arrival. A flood of urgent ones starves the others:
    that is what a priority means."""
    return sequence.request.priority, sequence.number, sequence.sample


class SortedQueue:
    """A `WaitingQueue` sorted by a key that is unique."""

    def __init__(self, key: Callable[[Sequence], Key]) -> None:
        self._key = key
        self._keys: list[Key] = []
        self._sequences: dict[Key, Sequence] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def head(self) -> Sequence | None:
        return self._sequences[self._keys[0]] if self._keys else None

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences.values())

    def add(self, sequence: Sequence) -> None:
        key = self._key(sequence)
        assert key not in self._sequences, "a sequence waits twice"
        insort(self._keys, key)
        self._sequences[key] = sequence

    def remove(self, sequence: Sequence, *, starts: bool) -> None:
        key = self._key(sequence)
        del self._sequences[key]
        del self._keys[bisect_left(self._keys, key)]

    def candidates(self) -> Iterator[Sequence]:
        return (self._sequences[key] for key in self._keys)

    def started(self, sequence: Sequence) -> None:
        """The order does not depend on who runs."""

    def stopped(self, sequence: Sequence) -> None:
        """The order does not depend on who runs."""
