"""The engine inside the process of its caller: one actor task beside the service's own tasks."""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from engine.client import EngineClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from engine.actor import EngineActor
    from engine.config import EngineConfig
    from engine.runner import LoadedModel


def _import_torch_side() -> tuple[type[EngineActor], Callable[..., LoadedModel]]:
    """torch and transformers take seconds: not before there is an engine to run, and not on the
    event loop, which answers health checks meanwhile."""
    from engine.actor import EngineActor
    from engine.models.loader import load

    return EngineActor, load


@asynccontextmanager
async def open_inline(config: EngineConfig) -> AsyncIterator[EngineClient]:
    """Start loading the model and give the client at once; `client.wait_ready()` tells the rest.

    Leaving the block waits for the running step, fails what is pending and frees the model.
    """
    actor_type, load = await anyio.to_thread.run_sync(_import_torch_side)
    command_send, command_receive = anyio.create_memory_object_stream[bytes](math.inf)
    client = EngineClient(command_send, config.scheduler)
    actor = actor_type(load, config, command_receive, client.take_in, time.monotonic_ns)
    with command_send, closing(client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(actor.run, name="engine actor")
            try:
                yield client
            finally:
                tasks.cancel_scope.cancel()
