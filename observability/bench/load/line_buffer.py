"""`LineBuffer`: cuts bytes as they come into lines. Linear in what it is fed."""

from __future__ import annotations


class LineBuffer:
    """Holds the line that has no end yet."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now, without the LF at their end."""
        if b"\n" not in data:
            self._pieces.append(data)
            return []
        if self._pieces:
            self._pieces.append(data)
            data = b"".join(self._pieces)
        lines = data.split(b"\n")
        rest = lines.pop()
        self._pieces = [rest] if rest else []
        return lines

    @property
    def num_held_bytes(self) -> int:
        """Of the line that has no end yet."""
        return sum(map(len, self._pieces))
