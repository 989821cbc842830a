"""The waiting queue of a policy's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from engine.policies.dynamic import DynamicQueue
from engine.policies.sorted_queue import SortedQueue, by_arrival, by_priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.policies.base import WaitingQueue
    from engine.sequence import Sequence

Policy = Literal["fifo", "priority", "dynamic"]


def waiting_queue(policy: Policy, num_uncached_tokens: Callable[[Sequence], int]) -> WaitingQueue:
    """An empty queue. `num_uncached_tokens` tells what would have to be computed of a sequence."""
    if policy == "fifo":
        return SortedQueue(by_arrival)
    if policy == "priority":
        return SortedQueue(by_priority)
    return DynamicQueue(num_uncached_tokens)
