"""`EventStream`: the payloads of server-sent events, from bytes as they come.

As tolerant as clients in the wild: LF or CRLF, with or without a space after `data:`, comments,
events of several lines. A lone CR ends no line: no server of language models sends that.
"""

from __future__ import annotations

from observability.bench.load.line_buffer import LineBuffer

_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")


class EventStream:
    """Of one answer."""

    def __init__(self) -> None:
        self.error: bytes | None = None
        """What came in an event named error, or after `error:` as llama.cpp once wrote it."""
        self._lines = LineBuffer()
        self._data: list[bytes] = []
        self._is_between = True
        """No part of an event is held."""
        self._name = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that are whole now; those without one are left out."""
        if (
            self._is_between
            and data.startswith(b"data:")
            and data.endswith(_EVENT_ENDS)
            and data.count(b"\n") == 2
        ):
            payload = data[5:].strip()  # by far the most: an event that is all of what came
            return [payload] if payload else []
        payloads: list[bytes] = []
        for line in self._lines.feed(data):
            self._take(line.removesuffix(b"\r"), payloads)
        self._is_between = not (self._data or self._name or self._lines.num_held_bytes)
        return payloads

    def end(self) -> list[bytes]:
        """The payload of an event whose blank line never came."""
        return self.feed(b"\n\n")

    @property
    def num_held_bytes(self) -> int:
        return self._lines.num_held_bytes + sum(map(len, self._data))

    def _take(self, line: bytes, payloads: list[bytes]) -> None:
        if not line:
            payload = b"\n".join(self._data).strip()
            if self._name == b"error":
                self.error = payload
            elif payload:
                payloads.append(payload)
            self._data.clear()
            self._name = b""
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.strip()
        elif field == b"error":
            self.error = value
