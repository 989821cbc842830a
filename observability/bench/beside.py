"""`beside`: what watches while something is measured."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from observability.bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any


@asynccontextmanager
async def beside(*jobs: Callable[[], Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Runs the jobs as long as the block lasts. A `BenchError` of the block comes out as it is: the
    group that runs them would wrap it."""
    error: BenchError | None = None
    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(job)
        try:
            yield
        except BenchError as caught:
            error = caught
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
