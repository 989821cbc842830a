"""A server in a process of its own, and what it has used: CPU time and memory, read from outside."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.perf.gateway.errors import CellFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[3]
_MAX_START_S = 30.0
_RETRY_S = 0.02
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_READY = b"GET /health/ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"


class ServerProcess:
    """Killed at the end of the block: what an orderly stop would do is not measured here."""

    def __init__(self, kind: str, certificate: Sequence[str] = ()) -> None:
        self.is_tls = bool(certificate)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `_kill`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.perf.gateway.stub_server", kind, *certificate],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        # Linux makes the clock of another process from its id; it counts nanoseconds, user and
        # system together, where /proc/PID/stat counts hundredths of a second.
        self._cpu_clock = (~self._process.pid) << 3 | 2
        self.address = ("127.0.0.1", 0)

    def __enter__(self) -> ServerProcess:
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                raise CellFailed(f"the server did not start: {self._last_words()}")
            self.address = ("127.0.0.1", int(line))
            self._wait_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._kill()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """User and system time of all its threads so far."""
        return time.clock_gettime(self._cpu_clock)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        statm = Path(f"/proc/{self._process.pid}/statm").read_text()
        return int(statm.split()[1]) * _PAGE_BYTES

    def wait_quiet(self, max_s: float) -> bool:
        """Until it has nothing more to do: below 2 % of a core for a third of a second."""
        deadline = time.monotonic() + max_s
        while time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(0.3)
            if self.cpu_s() - before < 0.006:
                return True
        return False

    def connect(self, protocols: Sequence[str] = ()) -> socket.socket:
        """A connection, through TLS if the server speaks it."""
        raw = socket.create_connection(self.address, timeout=10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.is_tls:
            return raw
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # our own certificate, a moment old
        context.set_alpn_protocols(list(protocols) or ["http/1.1"])
        return context.wrap_socket(raw)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _MAX_START_S
        while self.is_alive and time.monotonic() < deadline:
            with contextlib.suppress(OSError), self.connect() as connection:
                connection.sendall(_READY)
                if b" 200 " in connection.recv(64):
                    return
            time.sleep(_RETRY_S)
        raise CellFailed(f"the server did not become ready: {self._last_words()}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _kill(self) -> None:
        self._log.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
