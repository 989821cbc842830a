"""Opens the engine, follows it until its end, drains and closes it: one task group.

HTTP is up while the weights load. Works under Hypercorn and under any other ASGI lifespan; knows
nothing of signals, sockets and exit codes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from engine.errors import ENGINE_UNAVAILABLE, SHUTTING_DOWN, EngineError, EngineUnavailable
from engine.protocol import Down

if TYPE_CHECKING:
    from engine.client import EngineClient
    from engine.config import EngineConfig
    from service.lifecycle import Lifecycle

OpenEngine = Callable[["EngineConfig"], AbstractAsyncContextManager["EngineClient"]]

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def run_engine(
    lifecycle: Lifecycle, config: EngineConfig, open_engine: OpenEngine, drain_timeout_s: float
) -> AsyncIterator[None]:
    """The engine runs inside the block, as `lifecycle` tells. Leaving drains, then closes it."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_supervise, lifecycle, config, open_engine, drain_timeout_s)
        yield
        lifecycle.begin_drain()
        await lifecycle.wait_down()


async def _supervise(
    lifecycle: Lifecycle, config: EngineConfig, open_engine: OpenEngine, drain_timeout_s: float
) -> None:
    """From the opening of the engine to its end, which is always told to the lifecycle."""
    fault: Down | None = None
    try:
        async with open_engine(config) as client:
            lifecycle.attach(client)
            await _follow(lifecycle, client, drain_timeout_s)
            fault = client.down  # read before the end of the block, which closes the engine
    except EngineError as error:  # its texts are ours and say what to do
        fault = Down(error.code, str(error))
    except Exception:  # the boundary: raised further, it would leave a server without an engine
        _logger.exception("the engine failed")
        fault = Down(ENGINE_UNAVAILABLE, "The engine failed; the log says why.")
    finally:
        lifecycle.go_down(fault)


async def _follow(lifecycle: Lifecycle, client: EngineClient, drain_timeout_s: float) -> None:
    """Until the engine dies, or a drain is asked for and done or out of time."""
    async with anyio.create_task_group() as race:
        race.start_soon(_note_ready, lifecycle, client)
        race.start_soon(_until_down, client, race.cancel_scope)
        await lifecycle.wait_drain_asked()
        with anyio.move_on_after(drain_timeout_s) as deadline:
            await lifecycle.wait_idle()
        if deadline.cancelled_caught:
            _logger.warning(
                "%d requests were not done after %g s of draining and are ended",
                lifecycle.num_open,
                drain_timeout_s,
            )
            client.give_up(SHUTTING_DOWN, "The server is shutting down.")
        race.cancel_scope.cancel()


async def _note_ready(lifecycle: Lifecycle, client: EngineClient) -> None:
    try:
        await client.wait_ready()
    except EngineUnavailable:
        return  # `_until_down` sees the same and knows why
    lifecycle.become_ready()


async def _until_down(client: EngineClient, scope: anyio.CancelScope) -> None:
    await client.wait_down()
    scope.cancel()
