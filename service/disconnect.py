"""Work for a client, given up when the client leaves.

HTTP/1.1 and HTTP/2 both say so by `http.disconnect` on `receive`, and only to those who listen.
The body must have been read before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import anyio
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive

T = TypeVar("T")


async def unless_disconnected(
    receive: Receive,
    work: Callable[[], Awaitable[T]],
    *,
    tick: Callable[[], Awaitable[None]] | None = None,
    tick_s: float = math.inf,
) -> T:
    """What `work` returns or raises; meanwhile `tick` is called every `tick_s` seconds.

    Raises:
        ClientDisconnect: the client left first, and `work` was cancelled.
    """
    results: list[T] = []
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, receive, tick, tick_s)
            results.append(await work())
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # the task group wraps even a single exception
        raise first_of(group) from None
    return results[0]


async def _watch(
    receive: Receive, tick: Callable[[], Awaitable[None]] | None, tick_s: float
) -> None:
    """Raises `ClientDisconnect` when the client has left; never returns."""
    while True:
        with anyio.move_on_after(tick_s):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
        if tick is not None:
            await tick()


def first_of(error: BaseException) -> BaseException:
    """What a task group has wrapped: the fault that came first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
