"""Where the server stands between start and end: plain state that others wait for.

The lifespan moves it, readiness and the draining middleware read it, `service.server` waits for its
end: an exception in a lifespan task would leave Hypercorn serving, so failures travel as data.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import anyio

from engine.errors import EngineLoading, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.client import EngineClient
    from engine.protocol import Down


class State(StrEnum):
    """What the server does."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    DOWN = "down"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.LOADING: frozenset({State.READY, State.DRAINING, State.DOWN}),
    State.READY: frozenset({State.DRAINING, State.DOWN}),
    State.DRAINING: frozenset({State.DOWN}),
    State.DOWN: frozenset(),
}


class IllegalTransition(Exception):
    """A state cannot follow another; nothing has changed."""


class Lifecycle:
    """One server's state. `fault` is why the engine died by itself, None while it did not."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.fault: Down | None = None
        self.was_ready = False
        self.num_open = 0
        """Requests for the API that are being answered, until their last byte."""
        self._client: EngineClient | None = None
        self._attached = anyio.Event()
        self._ready = anyio.Event()
        self._drain_asked = anyio.Event()
        self._idle = anyio.Event()
        self._down = anyio.Event()

    @property
    def client(self) -> EngineClient:
        """The engine's client. It may still load, or be dead: it says so itself.

        Raises:
            EngineLoading: the engine is not even opened.
            EngineUnavailable: it could not be.
        """
        if self._client is not None:
            return self._client
        if self.state is State.DOWN:
            raise EngineUnavailable("The engine has stopped.")
        raise EngineLoading("The model is loading (0%).")

    @property
    def is_ready(self) -> bool:
        """Ready, and so is the engine: neither dead, nor silent, nor being started again."""
        return self.state is State.READY and self.client.is_ready

    @property
    def is_shutting_down(self) -> bool:
        """Asked to stop, or stopped on request; an engine that died by itself is no such case."""
        return self.state is State.DRAINING or (self.state is State.DOWN and self.fault is None)

    def attach(self, client: EngineClient) -> None:
        """The engine has been opened; it may still load."""
        self._client = client
        self._attached.set()

    def become_ready(self) -> None:
        """The engine takes requests. While draining this comes too late and changes nothing."""
        if self.state is State.DRAINING:
            return
        self._go(State.READY)
        self.was_ready = True
        self._ready.set()

    def begin_drain(self) -> None:
        """Take nothing new. Asking twice, or after the end, changes nothing."""
        if self.state in (State.LOADING, State.READY):
            self._go(State.DRAINING)
        self._drain_asked.set()
        if not self.num_open:
            self._idle.set()

    def go_down(self, fault: Down | None) -> None:
        """The engine is closed; `fault` if it died by itself."""
        self._go(State.DOWN)
        self.fault = fault
        self._down.set()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Counts a request for as long as it is being answered, so that a drain waits for it."""
        self.num_open += 1
        try:
            yield
        finally:
            self.num_open -= 1
            if not self.num_open and self._drain_asked.is_set():
                self._idle.set()

    async def wait_client(self) -> EngineClient:
        """The engine's client, once the engine has been opened."""
        await self._attached.wait()
        return self.client

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def wait_drain_asked(self) -> None:
        await self._drain_asked.wait()

    async def wait_idle(self) -> None:
        """Until no request is open, once a drain has begun: then nothing new is taken."""
        await self._idle.wait()

    async def wait_down(self) -> None:
        await self._down.wait()

    def _go(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.state} → {state}")
        self.state = state
