"""A WebSocket over an HTTP/2 stream (RFC 8441): Hypercorn's, between our connection and the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypercorn.protocol.events import Body, Data, EndBody, EndData, Response, StreamClosed
from hypercorn.protocol.ws_stream import WSStream

from service.http.h2_stream import Inbox, head_of

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event, Request

    from service.http.connection import Peer
    from service.http.h2_stream import Owner


class WebSocket:
    """Hands on in order: its own task waits for the application, the connection does not."""

    def __init__(self, owner: Owner, peer: Peer, request: Request) -> None:
        self.stream_id = request.stream_id
        self.inbox = Inbox()
        self.has_started = False
        self.is_over = False
        self._owner = owner
        self._request = request
        self._ws = WSStream(
            peer.site.wrapped,
            peer.site.config,
            peer.site.context,
            peer.tasks,
            peer.is_tls,
            peer.client,
            peer.server,
            self._send,
            request.stream_id,
        )

    async def run(self) -> None:
        """Until either side is done."""
        await self._ws.handle(self._request)
        while not (self.inbox.is_gone or self.is_over):
            await self.inbox.wait(for_end=True)
            data = self.inbox.take()
            if data:
                self._owner.body_read(self.stream_id, len(data))
                await self._ws.handle(Data(stream_id=self.stream_id, data=data))
            elif self.inbox.is_ended:
                break
        await self._ws.handle(StreamClosed(stream_id=self.stream_id))
        self._finish()

    async def _send(self, event: Event) -> None:
        match event:
            case _ if self.is_over:
                return
            case Response():
                self.has_started = True
                self._owner.send_headers(self.stream_id, head_of(event.status_code, event.headers))
            case Body() | Data() if event.data:
                if not self._owner.push(self.stream_id, event.data):
                    await self._owner.wait_for_room(self.stream_id)
            case EndBody() | EndData() | StreamClosed():
                self._finish()

    def _finish(self) -> None:
        if self.has_started and not self.is_over:
            self.is_over = True
            self._owner.finish(self.stream_id)
            self.inbox.leave()
