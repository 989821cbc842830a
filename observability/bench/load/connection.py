"""`Connection` and `Answer`: what the load needs of a protocol, and how a request can fail.

All times are seconds of `time.monotonic`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class RequestFailed(Exception):
    """`kind` is one of the errors of `Measured`.

    `is_unseen`: the server has surely or probably not begun with it: a kept connection was closed
    before the first byte of an answer, or the stream was refused. It may be sent once more.
    """

    def __init__(self, kind: str, detail: str, *, is_unseen: bool = False) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.is_unseen = is_unseen


class Request(msgspec.Struct, frozen=True, gc=False):
    """A POST of JSON, the same for both protocols."""

    path: str
    headers: list[tuple[str, str]]
    """In lower case; without those of the connection: host, length."""
    body: bytes


class Head(msgspec.Struct, frozen=True, gc=False):
    """The begin of an answer."""

    status: int
    content_type: str


class Answer(Protocol):
    """To one request, read in this order: send, head, receive until it is whole."""

    is_whole: bool
    """Its last byte was received."""

    async def send(self) -> None:
        """Raises `RequestFailed`."""
        ...

    async def head(self) -> Head:
        """Wait for it. Raises `RequestFailed`."""
        ...

    async def receive(self) -> tuple[float, bytes]:
        """What comes next of the body and when it came; b"" at its end. Raises `RequestFailed`."""
        ...


class Connection(Protocol):
    """To one server; carries `num_free` requests more."""

    @property
    def is_open(self) -> bool:
        """False for ever once it is closed or about to be."""
        ...

    @property
    def num_free(self) -> int:
        """0 if it is not open."""
        ...

    def ask(self, request: Request) -> Answer:
        """Take a place; nothing is sent yet. There must be a free one."""
        ...

    def end(self, answer: Answer) -> None:
        """Give the place back. An answer that is not whole is broken off."""
        ...

    def close(self) -> None:
        """Break everything off."""
        ...
