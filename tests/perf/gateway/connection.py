"""A client's connection: bytes in, bytes out, as little work for each token as can be."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.perf.gateway.cadence import Cadence

_SO_TIMESTAMPNS = 35  # Linux; Python's socket module does not name it
_TIMESPEC = struct.Struct("qq")
_MAX_READ = 2**18


def body_of(cadence: Cadence) -> bytes:
    """A chat request that the stub engine answers at that cadence."""
    return (
        b'{"model":"kvorum-mini","messages":[{"role":"user","content":"hello"}],'
        b'"stream":true,"seed":%d}' % cadence.to_seed()
    )


class Connection(Protocol):
    """What the load needs of a protocol."""

    num_failed: int
    """Streams that were refused, broken or ended; none of them should be."""

    wire: Wire

    def begin(self) -> None:
        """Send the requests, as far as flow control lets them go."""
        ...

    def take(self, data: bytes, arrival_ns: int) -> None:
        """Bytes have arrived; empty if the server has closed."""
        ...


class Wire:
    """A socket that never waits. Knows when the bytes it gives had arrived in the kernel.

    The kernel's own time of arrival makes a measured delay independent of how late the client
    process comes to read. Behind TLS it is not to be had: there the client's lateness counts.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._is_tls = isinstance(connected, ssl.SSLSocket)
        if not self._is_tls:
            connected.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        connected.setblocking(False)
        self._unsent = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send now, or later by `flush` what does not fit."""
        self._unsent += data
        self.flush()

    def flush(self) -> bool:
        """Send what is left; True if nothing is."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantWriteError):
            return False
        except OSError:  # reading will say that the server has closed
            self._unsent.clear()
        return True

    def read(self) -> tuple[bytes, int] | None:
        """What has arrived and when, in `time.monotonic_ns`; b"" if closed, None if nothing has."""
        try:
            if self._is_tls:
                return self._socket.recv(_MAX_READ), time.monotonic_ns()
            data, ancillary, _, _ = self._socket.recvmsg(_MAX_READ, 64)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError:
            return b"", time.monotonic_ns()
        now_ns = time.monotonic_ns()
        for _, kind, value in ancillary:
            if kind == _SO_TIMESTAMPNS:
                seconds, ns = _TIMESPEC.unpack(value[: _TIMESPEC.size])
                age_ns = time.time_ns() - (seconds * 1_000_000_000 + ns)
                return data, now_ns - max(0, age_ns)
        return data, now_ns

    @property
    def may_hold_more(self) -> bool:
        """TLS may have decrypted more than was read: epoll does not see that."""
        return self._is_tls
