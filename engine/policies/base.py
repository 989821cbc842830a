"""What a waiting queue is, whatever its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engine.sequence import Sequence


class WaitingQueue(Protocol):
    """The sequences that do not run, and who of them is next. Pure: no clock, no randomness."""

    def __len__(self) -> int: ...

    @property
    def head(self) -> Sequence | None:
        """One of those that have waited longest; None if nobody waits."""
        ...

    def __iter__(self) -> Iterator[Sequence]:
        """All of them, in any order."""
        ...

    def add(self, sequence: Sequence) -> None:
        """One that has just come, or that has been preempted. It must not be in the queue."""
        ...

    def remove(self, sequence: Sequence, *, starts: bool) -> None:
        """It `starts`, or else its request is over. It must be in the queue: KeyError."""
        ...

    def candidates(self, running: Iterable[Sequence]) -> Iterator[Sequence]:
        """In the order in which they should start, given those that run. The queue must not change
        while this is read."""
        ...
