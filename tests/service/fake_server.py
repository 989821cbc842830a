"""A real server process with a fake engine, for tests that need sockets and signals.

    python -m tests.service.fake_server [--fake-never-ready | --fake-stuck] [--fake-hold-after N] FLAGS…

SIGUSR1 lets held requests go on, SIGUSR2 kills the engine.
"""

from __future__ import annotations

import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from engine.models.registry import resolve
from observability.log import configure_logging
from service.server import bind, serve
from service.settings_load import load
from tests.fakes import FakeEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.client import EngineClient
    from engine.config import EngineConfig


class SteeredEngine(FakeEngine):
    """Obeys signals. If stuck, it never closes, as a thread that loads weights does not."""

    is_stuck = False

    @asynccontextmanager
    async def __call__(self, config: EngineConfig | None = None) -> AsyncIterator[EngineClient]:
        async with super().__call__(config) as client, anyio.create_task_group() as tasks:
            await tasks.start(self._obey)
            sys.stderr.write("the fake engine is open\n")
            sys.stderr.flush()
            yield client
            with anyio.CancelScope(shield=self.is_stuck):
                if self.is_stuck:
                    await anyio.sleep_forever()
            tasks.cancel_scope.cancel()

    async def _obey(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGUSR1:
                    self.resume()
                else:
                    self.die(message="The fake engine was killed.")


def main(argv: list[str]) -> int:
    """Take our own flags, give the others to the server."""
    ready, hold_after = True, None
    is_stuck = argv[:1] == ["--fake-stuck"]
    if is_stuck or argv[:1] == ["--fake-never-ready"]:
        ready, argv = False, argv[1:]
    if argv[:1] == ["--fake-hold-after"]:
        hold_after, argv = int(argv[1]), argv[2:]
    settings = load(argv, {}).settings
    configure_logging(settings.telemetry.log_level, json=True)
    engine = SteeredEngine(ready=ready, hold_after=hold_after)
    engine.is_stuck = is_stuck
    with bind(settings.server) as listener:
        return serve(settings, resolve(), listener, version="test", open_engine=engine)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
