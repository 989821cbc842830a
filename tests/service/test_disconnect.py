"""Work is given up when its client leaves, and only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from starlette.requests import ClientDisconnect

from service.disconnect import unless_disconnected

if TYPE_CHECKING:
    from starlette.types import Message


async def never() -> Message:
    await anyio.sleep_forever()
    raise AssertionError


async def gone() -> Message:
    return {"type": "http.disconnect"}


async def test_the_result_comes_through() -> None:
    async def work() -> int:
        return 5

    assert await unless_disconnected(never, work) == 5


async def test_an_exception_comes_through_as_itself() -> None:
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await unless_disconnected(never, work)


async def test_work_is_cancelled_when_the_client_leaves() -> None:
    cancelled = anyio.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with anyio.fail_after(5), pytest.raises(ClientDisconnect):
        await unless_disconnected(gone, work)
    assert cancelled.is_set()


async def test_cancellation_from_outside_stays_cancellation() -> None:
    with anyio.move_on_after(0.01) as scope:
        await unless_disconnected(never, anyio.sleep_forever)
    assert scope.cancelled_caught


async def test_a_tick_is_called_until_the_end() -> None:
    ticked = anyio.Event()

    async def tick() -> None:
        ticked.set()

    with anyio.fail_after(5):
        await unless_disconnected(never, ticked.wait, tick=tick, tick_s=0.001)


async def test_a_tick_can_end_the_work() -> None:
    async def tick() -> None:
        raise ClientDisconnect

    with anyio.fail_after(5), pytest.raises(ClientDisconnect):
        await unless_disconnected(never, anyio.sleep_forever, tick=tick, tick_s=0.001)
