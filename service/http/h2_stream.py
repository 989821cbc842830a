"""One HTTP/2 request and its answer: an ASGI cycle.

Knows neither frames nor windows: it tells its connection what to send and how much of the body was
read. A stream that waits costs a few objects: unread body is one buffer, not a queue of messages,
and is bounded by the stream's window.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Scope

Headers = list[tuple[bytes, bytes]]

_BODILESS = frozenset({204, 304})


class Owner(Protocol):
    """What a stream asks of its connection. Only the two that wait do not act at once."""

    def send_headers(self, stream_id: int, headers: Headers) -> None:
        """The head of an answer: status first."""
        ...

    def push(self, stream_id: int, data: bytes) -> bool:
        """More of its body. False if the stream must now `wait_for_room`."""
        ...

    def finish(self, stream_id: int) -> None:
        """The end of its body."""
        ...

    async def wait_for_room(self, stream_id: int) -> None:
        """Until more may be pushed, or the stream is gone."""
        ...

    async def wait_for_end(self, stream_id: int) -> None:
        """Until all of a finished answer is handed to the socket, or the stream is gone."""
        ...

    def body_read(self, stream_id: int, num_bytes: int) -> None:
        """The application has read so much of the request's body."""
        ...


class AnyStream(Protocol):
    """A request as its connection sees it: `Stream`, or a WebSocket."""

    stream_id: int
    inbox: Inbox
    has_started: bool
    """Its answer's head was sent."""
    is_over: bool
    """Nothing more will be sent: the answer is whole, or nobody wants it."""

    async def run(self) -> None:
        """Let the application answer."""
        ...


class Inbox:
    """The body of a request as it arrives. `is_gone`: nothing more will, nobody listens."""

    __slots__ = ("_arrived", "_body", "is_ended", "is_gone")

    def __init__(self) -> None:
        self.is_ended = False
        self.is_gone = False
        self._body = bytearray()
        self._arrived: asyncio.Event | None = None

    def feed(self, data: bytes) -> None:
        self._body += data
        self._wake()

    def end(self) -> None:
        self.is_ended = True
        self._wake()

    def leave(self) -> None:
        self.is_gone = True
        self._body.clear()
        self._wake()

    def take(self) -> bytes:
        """What has arrived; may be empty."""
        body = bytes(self._body)
        self._body.clear()
        return body

    async def wait(self, *, for_end: bool) -> None:
        """Until there is body, or the client has gone, or `for_end` and the body has ended."""
        while not (self._body or self.is_gone or (for_end and self.is_ended)):
            if self._arrived is None:
                self._arrived = asyncio.Event()
            self._arrived.clear()
            await self._arrived.wait()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()


class Stream:
    """An HTTP request. Its inbox is left when the answer is complete, too, as ASGI wants it."""

    __slots__ = (
        "_app", "_is_bodiless", "_is_told_end", "_owner", "_scope",
        "has_started", "inbox", "is_over", "stream_id",
    )  # fmt: skip

    def __init__(self, owner: Owner, stream_id: int, scope: Scope, app: ASGIApp) -> None:
        self.stream_id = stream_id
        self.inbox = Inbox()
        self.has_started = False
        self.is_over = False
        self._app = app
        self._owner = owner
        self._scope = scope
        self._is_bodiless = scope["method"] == "HEAD"
        self._is_told_end = False

    async def run(self) -> None:
        """Let the application answer."""
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        inbox = self.inbox
        await inbox.wait(for_end=not self._is_told_end)
        if inbox.is_gone:
            return {"type": "http.disconnect"}
        body = inbox.take()
        if body:
            self._owner.body_read(self.stream_id, len(body))
        self._is_told_end = inbox.is_ended
        return {"type": "http.request", "body": body, "more_body": not inbox.is_ended}

    async def _send(self, message: Message) -> None:
        """Once the client has gone, nothing happens and nothing is raised.

        Raises:
            RuntimeError: a message that may not come now.
        """
        if self.is_over:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.has_started:
            body = message.get("body", b"")
            if body and not self._is_bodiless and not self._owner.push(self.stream_id, body):
                await self._owner.wait_for_room(self.stream_id)
            if not message.get("more_body", False) and not self.is_over:
                self.is_over = True
                self._owner.finish(self.stream_id)
                await self._owner.wait_for_end(self.stream_id)
        elif kind == "http.response.start" and not self.has_started:
            self.has_started = True
            status: int = message["status"]
            self._is_bodiless = self._is_bodiless or status in _BODILESS
            self._owner.send_headers(self.stream_id, head_of(status, message.get("headers", [])))
        else:
            raise RuntimeError(f"the application sent {kind} out of turn")


def head_of(status: int, headers: Iterable[Any]) -> Headers:
    """An answer's head. Header names that belong to one HTTP/1.1 connection are left out: to send
    them over HTTP/2 is an error, and applications need not know what they run on."""
    head = [(b":status", b"%d" % status)]
    head += [
        (bytes(name).lower(), bytes(value).strip())
        for name, value in headers
        if bytes(name).lower() not in _CONNECTION_HEADERS
    ]
    return head


_CONNECTION_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
