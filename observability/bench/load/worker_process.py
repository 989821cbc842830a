"""`WorkerProcess`: a worker as its conductor sees it: lines to it, lines from it, its last words."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING

import anyio
import msgspec

from observability.bench.load.job import Said, Told, line_of
from observability.bench.load.line_buffer import LineBuffer

if TYPE_CHECKING:
    from anyio.abc import Process

_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError)
_MAX_READ_BYTES = 2**18


class WorkerProcess:
    """Killed by `aclose`, whatever it does."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lines = LineBuffer()
        self._decoder: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)
        self._last_words: deque[str] = deque(maxlen=1)

    @classmethod
    async def start(cls) -> WorkerProcess:
        """Raises `OSError`."""
        process = await anyio.open_process(
            [sys.executable, "-m", "observability.bench.load.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is the conductor's to answer
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def tell(self, message: Told) -> None:
        """To one that is gone nothing is said: reading from it tells."""
        assert self._process.stdin is not None
        with contextlib.suppress(*_GONE):
            await self._process.stdin.send(line_of(message))

    async def hear(self) -> list[Said]:
        """What it says next; nothing once its stdout has ended."""
        assert self._process.stdout is not None
        said: list[Said] = []
        while not said:
            try:
                data = await self._process.stdout.receive(_MAX_READ_BYTES)
            except (anyio.EndOfStream, *_GONE):
                break
            said = [self._decoder.decode(line) for line in self._lines.feed(data)]
        return said

    async def listen_to_stderr(self) -> None:
        """Until it ends; a pipe that nobody empties would stop the worker."""
        assert self._process.stderr is not None
        lines = LineBuffer()
        try:
            while True:
                data = await self._process.stderr.receive(_MAX_READ_BYTES)
                self._keep(lines.feed(data))
        except (anyio.EndOfStream, *_GONE):
            self._keep(lines.feed(b"\n"))

    def _keep(self, lines: list[bytes]) -> None:
        self._last_words.extend(
            line.decode(errors="replace").strip() for line in lines if line.strip()
        )

    async def end_of_it(self) -> str:
        """How it ended, for the user. Waits until it has."""
        code = await self._process.wait()
        if self._last_words:
            return self._last_words[0]
        return f"it was ended by signal {-code}" if code < 0 else f"its exit code is {code}"

    async def aclose(self) -> None:
        """Kill it and wait for its end."""
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.aclose()
