"""What a waiting queue is, whatever its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def candidates(self) -> Iterator[Sequence]:
        """In the order in which they should start. The queue must not change while this is read."""
        ...

    def started(self, sequence: Sequence) -> None:
        """It runs from now on, from the queue or as a fork that never waited."""
        ...

    def stopped(self, sequence: Sequence) -> None:
        """It runs no more: it is over, or about to be added again."""
        ...
