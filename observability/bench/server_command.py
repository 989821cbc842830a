"""`ServerCommand`: a server that is started for a measurement, and gone after it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from itertools import chain, repeat
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from observability.bench.ask import ask
from observability.bench.errors import CannotAsk, CannotMeasure, WrongOption
from observability.bench.watch.process_tree import pids_of_session

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import Process

_PORT = "{port}"
_PERIOD_S = 0.1
_READY_PATHS = ("/health/ready", "/health", "/v1/models")
"""The first that the server knows decides: others answer before they can serve."""
_UNKNOWN = frozenset({404, 405})
_NUM_LAST_LINES = 12
_MAX_LAST_BYTES = 4096
GRACE_S = 15.0
_KILL_S = 5.0
_GONE_PERIOD_S = 0.02


class ServerCommand:
    """A command without a shell, in a session of its own, ready inside the block.

    It is asked to end (SIGTERM) and, after a grace, made to, with all that it has started. Only
    what opens a session of its own, as a daemon does, is out of reach.
    """

    def __init__(self, words: str, *, deadline_s: float = 900.0, grace_s: float = GRACE_S) -> None:
        """`words` hold `{port}`. Raises `WrongOption` if they do not, or are no command."""
        if _PORT not in words:
            raise WrongOption(f"the command {words!r} needs {_PORT} where its port belongs")
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        try:
            self._arguments = shlex.split(words.replace(_PORT, str(self.port)))
        except ValueError as error:
            raise WrongOption(f"the command {words!r} cannot be read: {error}") from None
        self._deadline_s = deadline_s
        self._grace_s = grace_s
        self._process: Process | None = None
        # A file: a pipe that is not read would stop the server.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`

    @property
    def pid(self) -> int:
        """Also that of its process group."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> ServerCommand:
        """Start it and wait until it is ready. Raises `CannotMeasure` with its last words."""
        await self.start()
        try:
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Without waiting. `stop` must follow. Raises `CannotMeasure`."""
        try:
            self._process = await anyio.open_process(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise CannotMeasure(f"{self._arguments[0]} cannot be started: {error}") from None

    async def wait_ready(self, period_s: float = _PERIOD_S) -> None:
        """Until one of the usual routes answers 200. Raises `CannotMeasure`."""
        with anyio.move_on_after(self._deadline_s):
            for wait_s in chain([0.0], repeat(period_s)):
                await anyio.sleep(wait_s)
                self.check_alive()
                if await anyio.to_thread.run_sync(self._is_ready, abandon_on_cancel=True):
                    return
        raise CannotMeasure(
            f"the server is not ready after {self._deadline_s:.0f} s{self._last_words()}"
        )

    def check_alive(self) -> None:
        """Raises `CannotMeasure`, with its last words, if it has ended."""
        assert self._process is not None
        if self._process.returncode is not None:
            raise CannotMeasure(
                f"the server ended with {self._process.returncode}{self._last_words()}"
            )

    async def stop(self) -> None:
        """Leaves nothing of its session. The grace is also that of what it has started: a command
        that wraps a server may end long before it."""
        process, self._process = self._process, None
        if process is None:
            return
        with anyio.CancelScope(shield=True):
            _signal(process.pid, signal.SIGTERM)
            with anyio.move_on_after(self._grace_s):
                await process.wait()
                await _gone(process.pid)
            _signal(process.pid, signal.SIGKILL)
            for pid in pids_of_session(process.pid):  # those that left the group
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.wait()
            with anyio.move_on_after(_KILL_S):  # one that hangs in a driver may never be
                await _gone(process.pid)
            self._log.close()

    def _is_ready(self) -> bool:
        for path in _READY_PATHS:
            try:
                status, _ = ask(self.url, path, timeout_s=5.0)
            except CannotAsk:
                return False
            if status not in _UNKNOWN:
                return status == 200
        return False

    def _last_words(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _MAX_LAST_BYTES))
        lines = self._log.read().decode(errors="replace").splitlines()
        said = [line.rstrip() for line in lines if line.strip()][-_NUM_LAST_LINES:]
        return "; it said:\n  " + "\n  ".join(said) if said else "; it said nothing"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def _gone(session: int) -> None:
    while pids_of_session(session):  # noqa: ASYNC110 - processes give no event
        await anyio.sleep(_GONE_PERIOD_S)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
