"""`SideThreads`: a few threads for work that would hold up every stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class SideThreads:
    """There are only so many of them, however many requests there are."""

    def __init__(self, num_threads: int) -> None:
        self._limiter = anyio.CapacityLimiter(num_threads)

    async def run(
        self, is_large: bool, work: Callable[[*Arguments], T], *arguments: *Arguments
    ) -> T:
        """Do it in a thread if it is large, else at once: that costs less than going there."""
        if not is_large:
            return work(*arguments)
        return await anyio.to_thread.run_sync(work, *arguments, limiter=self._limiter)
