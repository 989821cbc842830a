"""The application without a server: what no server can be cheaper than.

    python -m tests.perf.gateway.bare_app NUM_STREAMS NUM_PHASES PERIOD_US WARM_UP_S WINDOW_S

Calls the application directly, with the same stub engine and a `send` that only counts, and writes
CPU seconds, window seconds and token events as one line of JSON.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import anyio
import msgspec

from engine.models.registry import resolve
from service.app import create_app
from service.settings_load import load
from tests.perf.gateway.cadence import MARK, Cadence
from tests.perf.gateway.connection import body_of
from tests.perf.gateway.stub_engine import open_stub

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Message


class BareRun(msgspec.Struct, frozen=True):
    """What a window has seen."""

    cpu_s: float
    window_s: float
    num_tokens: int


class _Request:
    """A request that no socket brought, and a client that never leaves."""

    def __init__(self, cadence: Cadence) -> None:
        self.num_tokens = 0
        self._bodies = [body_of(cadence)]

    async def run(self, app: Starlette) -> None:
        path = "/v1/chat/completions"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "2",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"bench"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
            "extensions": {},
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._bodies:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": self._bodies.pop(), "more_body": False}

    async def _send(self, message: Message) -> None:
        self.num_tokens += message.get("body", b"").count(MARK)


async def run_bare(
    num_streams: int, num_phases: int, period_us: int, warm_up_s: float, window_s: float
) -> BareRun:
    """Run the streams until the window is over."""
    app = create_app(load([], {}).settings, resolve(), open_engine=open_stub)
    requests = [
        _Request(Cadence(period_us, False, num_phases, index % num_phases))
        for index in range(num_streams)
    ]
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        for request in requests:
            tasks.start_soon(request.run, app)
        while not all(request.num_tokens for request in requests):
            await anyio.sleep(0.05)
        await anyio.sleep(warm_up_s)
        before, cpu_s, at_s = _count(requests), time.process_time(), time.monotonic()
        await anyio.sleep(window_s)
        result = BareRun(
            cpu_s=time.process_time() - cpu_s,
            window_s=time.monotonic() - at_s,
            num_tokens=_count(requests) - before,
        )
        tasks.cancel_scope.cancel()
    return result


def _count(requests: list[_Request]) -> int:
    return sum(request.num_tokens for request in requests)


def main(argv: list[str]) -> int:
    """Run and tell."""
    num_streams, num_phases, period_us = (int(text) for text in argv[:3])
    warm_up_s, window_s = (float(text) for text in argv[3:])
    result = anyio.run(run_bare, num_streams, num_phases, period_us, warm_up_s, window_s)
    print(msgspec.json.encode(result).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
