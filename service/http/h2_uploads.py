"""The client's windows: opened again as request bodies arrive and are read.

A stream's window opens as its application reads, which bounds what waits for it; the connection's
opens as data arrives, so that a body nobody reads holds up no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.http.h2_connection import ServerConnection

# Half of what a stream's window begins with: one update for many frames.
_MIN_UPDATE_BYTES = 32 * 1024


class Uploads:
    """Updates wait in `h2` for the next write."""

    def __init__(self, h2: ServerConnection) -> None:
        self._h2 = h2
        self._num_arrived = 0
        self._num_read: dict[int, int] = {}

    def open(self, stream_id: int) -> None:
        """A request whose body may come."""
        self._num_read[stream_id] = 0

    def close(self, stream_id: int) -> None:
        """No more of it comes, or it no longer matters."""
        self._num_read.pop(stream_id, None)

    def arrived(self, num_bytes: int) -> None:
        """DATA of any stream, padding included."""
        self._num_arrived += num_bytes
        if self._num_arrived >= _MIN_UPDATE_BYTES:
            self._h2.increment_flow_control_window(self._num_arrived)
            self._num_arrived = 0

    def read(self, stream_id: int, num_bytes: int) -> bool:
        """So much of it was read, or thrown away. Whether an update is to be written."""
        if stream_id not in self._num_read:
            return False
        num_read = self._num_read[stream_id] + num_bytes
        is_due = num_read >= _MIN_UPDATE_BYTES and self._h2.is_open(stream_id)
        if is_due:
            self._h2.increment_flow_control_window(num_read, stream_id)
        self._num_read[stream_id] = 0 if is_due else num_read
        return is_due
