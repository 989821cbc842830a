"""`Http1Connection`: one request at a time, with h11. The connection is its own `Answer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import h11

from observability.bench.load.connection import Head, RequestFailed

if TYPE_CHECKING:
    from observability.bench.load.connection import Answer, Request
    from observability.bench.load.wire import Wire


class Http1Connection:
    """Kept alive as long as both sides wish it."""

    def __init__(self, wire: Wire, authority: str) -> None:
        self.is_whole = False
        self._wire = wire
        self._authority = authority
        self._h11 = h11.Connection(h11.CLIENT)
        self._request: Request | None = None
        self._is_open = True
        self._num_asked = 0
        self._has_bytes = False
        """Of the answer that is read."""
        self._has_head = False
        self._is_hungry = False
        """h11 has nothing more to say before it gets more bytes."""
        self._at_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._is_open and (self._request is not None or self._wire.is_quiet)

    @property
    def num_free(self) -> int:
        return int(self.is_open and self._request is None)

    def ask(self, request: Request) -> Answer:
        self._request = request
        self._num_asked += 1
        self.is_whole = self._has_bytes = self._has_head = self._is_hungry = False
        return self

    def end(self, answer: Answer) -> None:
        self._request = None
        is_done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        if self.is_whole and is_done:
            self._h11.start_next_cycle()
        else:
            self.close()

    def close(self) -> None:
        self._is_open = False
        self._wire.close()

    async def send(self) -> None:
        request = cast("Request", self._request)
        headers = [
            ("host", self._authority),
            *request.headers,
            ("content-length", str(len(request.body))),
        ]
        event = h11.Request(method="POST", target=request.path, headers=headers)
        data = self._h11.send(event)
        data = (data or b"") + (self._h11.send(h11.Data(data=request.body)) or b"")
        self._h11.send(h11.EndOfMessage())
        await self._wire.send(data)

    async def head(self) -> Head:
        while True:
            event = self._next()
            if event is h11.NEED_DATA:
                await self._fill()
            elif type(event) is h11.ConnectionClosed:
                raise self._lost(self._wire.reason)
            elif type(event) is h11.Response:
                self._has_head = True
                kind = dict(event.headers).get(b"content-type", b"")
                return Head(event.status_code, kind.decode("latin-1"))

    async def receive(self) -> tuple[float, bytes]:
        pieces: list[bytes] = []
        while not self.is_whole:
            if self._is_hungry:
                if pieces:
                    break
                await self._fill()
            event = self._next()
            if event is h11.NEED_DATA:
                self._is_hungry = True
            elif type(event) is h11.Data:
                pieces.append(event.data)
            elif type(event) is h11.EndOfMessage:
                self.is_whole = True
        return self._at_s, pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if self._h11.trailing_data[1]:  # the server has closed in the middle
                raise self._lost(str(error)) from None
            raise RequestFailed("protocol", str(error)) from None

    async def _fill(self) -> None:
        self._at_s, data = await self._wire.receive()
        self._is_hungry = False
        if not data and not self._has_bytes:
            raise self._lost(self._wire.reason)
        self._has_bytes = True
        self._h11.receive_data(data)

    def _lost(self, detail: str) -> RequestFailed:
        is_unseen = self._num_asked > 1 and not self._has_bytes
        kind = "cut" if self._has_head else "connection"
        return RequestFailed(kind, detail, is_unseen=is_unseen)
