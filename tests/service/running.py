"""The application inside a test: its lifespan runs, httpx talks to it, the engine is a fake."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from starlette.routing import Route

from engine.models.registry import resolve
from service.app import create_app
from service.lifecycle import Lifecycle
from service.settings_load import load
from tests.fakes import FakeEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.applications import Starlette
    from starlette.types import ASGIApp

    from engine.models.card import ModelCard
    from observability.tracing import Tracing
    from service.settings import Settings

CHAT = "/v1/chat/completions"


def settings_of(*argv: str) -> Settings:
    """Settings from flags alone."""
    return load(argv, {}).settings


def embedded_card(name: str | None = None) -> ModelCard:
    """The card of the embedded model: its tokenizer and template are real."""
    return resolve(None, name)


def chat_body(**fields: object) -> dict[str, object]:
    """A valid chat request."""
    message = {"role": "user", "content": "hello"}
    return {"model": "kvorum-mini", "messages": [message], "max_tokens": 8, **fields}


class Running:
    """A running application and all its parts."""

    def __init__(self, app: Starlette, engine: FakeEngine, lifecycle: Lifecycle) -> None:
        self.app = app
        self.engine = engine
        self.lifecycle = lifecycle
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://kvorum.test"
        )
        self.stop = anyio.Event()
        """Set it to let the lifespan shut down before the end of the block."""


@asynccontextmanager
async def running(
    *argv: str,
    engine: FakeEngine | None = None,
    name: str | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Running]:
    """The application with the settings of `argv`; ready when the fake engine is."""
    engine = engine or FakeEngine()
    lifecycle = Lifecycle()
    app = create_app(
        settings_of(*argv),
        embedded_card(name),
        lifecycle=lifecycle,
        tracing=tracing,
        open_engine=engine,
    )
    run = Running(app, engine, lifecycle)
    async with run.client, anyio.create_task_group() as tasks:
        await tasks.start(_run_lifespan, app, run.stop)
        if engine.is_ready_at_once:
            with anyio.fail_after(5):
                await lifecycle.wait_ready()
        try:
            yield run
        finally:
            run.stop.set()


async def _run_lifespan(
    app: ASGIApp, stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    """What an ASGI server does: startup, wait, shutdown."""
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        if received == 1:
            return {"type": "lifespan.startup"}
        await stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            task_status.started()

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


async def call(
    app: ASGIApp,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    **scope: object,
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """One bare ASGI request, for what httpx would not send: status, headers, body."""
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    full: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
        **scope,
    }
    await app(full, receive, send)
    body = b"".join(message.get("body", b"") for message in messages[1:])
    return messages[0]["status"], messages[0]["headers"], body


def error_of(response: httpx.Response) -> dict[str, object]:
    """The error of an answer, which must be OpenAI's envelope and nothing else."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, object] = body["error"]
    return error


def routes_of(run: Running) -> list[tuple[str, frozenset[str]]]:
    """Every route's example path and methods."""
    return [
        (route.path.replace("{model:path}", "kvorum-mini"), frozenset(route.methods or ()))
        for route in run.app.routes
        if isinstance(route, Route)
    ]
