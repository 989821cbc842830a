"""HTTP/1.1: Hypercorn's, with three faults mended.

Its read loop waits while an answer runs and the client has sent more (pipelining), so that it does
not see the client leave; ours reads on, within a bound. Its header limit holds only for headers
that come in several reads; ours for all. Its idle timer starts a task; ours does not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import h11
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, Data, EndBody
from hypercorn.protocol.h11 import (
    STREAM_ID,
    H2CProtocolRequiredError,
    H2ProtocolAssumedError,
    H11Protocol,
)
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from service.errors import HeadersTooLarge
from service.http.refusal import refusing

if TYPE_CHECKING:
    from hypercorn.events import Event
    from hypercorn.typing import ASGIFramework

    from service.http.connection import Peer
    from service.http.h2_sender import Wire

_MAX_AHEAD_BYTES = 64 * 1024  # what may be read while an answer runs
_FIELD_OVERHEAD_BYTES = 4  # colon, blank, line end


class H1Protocol(H11Protocol):
    """One request at a time."""

    def __init__(self, peer: Peer, wire: Wire) -> None:
        site = peer.site
        super().__init__(
            site.wrapped,
            site.config,
            site.context,
            peer.tasks,
            ConnectionState(site.state),
            peer.is_tls,
            peer.client,
            peer.server,
            self._on_event,
        )
        self._wire = wire
        self._max_header_bytes = site.limits.max_header_bytes
        error = HeadersTooLarge(
            f"The headers exceed {self._max_header_bytes} bytes.", headers={"connection": "close"}
        )
        self._too_large = wrap_app(cast("ASGIFramework", refusing(error)), 0, "asgi")
        self._in_order = asyncio.Lock()

    async def handle(self, event: Event) -> None:
        """What was read, or that the client has left.

        Raises:
            H2CProtocolRequiredError, H2ProtocolAssumedError: it speaks HTTP/2 from here on.
        """
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        self.connection.receive_data(event.data)
        await self._go_on()
        while self.stream is not None and self._num_ahead() > _MAX_AHEAD_BYTES:
            await self.can_read.clear()
            await self.can_read.wait()
            await self._go_on()

    def retire(self) -> None:
        """Close it if it is idle. If not, Hypercorn does when its server has terminated."""
        if self.stream is None:
            self._wire.close()

    async def _go_on(self) -> None:
        async with self._in_order:
            await self._handle_events()

    async def _resume(self) -> None:
        """In a task of its own: the answer that has just ended must not wait for the next one."""
        try:
            await self._go_on()
        except (H2CProtocolRequiredError, H2ProtocolAssumedError):
            self._wire.close()  # nobody begins HTTP/2 behind a pipelined request

    def _num_ahead(self) -> int:
        return len(self.connection.trailing_data[0])

    async def _handle_events(self) -> None:
        """As Hypercorn's, but what is behind the request that runs stays where it is."""
        while True:
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await self._send_error_response(error.error_status_hint)
                self._wire.close()
                return
            if isinstance(event, h11.Request):
                self._wire.set_idle(False)
                await self._check_protocol(event)
                await self._create_stream(event)
            elif event in (h11.PAUSED, h11.NEED_DATA) or self.stream is None:
                return
            elif isinstance(event, h11.Data):
                await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            elif isinstance(event, Data):  # a WebSocket's
                await self.stream.handle(event)
            else:
                return

    async def _create_stream(self, request: h11.Request) -> None:
        size = len(request.method) + len(request.target)
        size += sum(
            len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in request.headers
        )
        app = self.app
        if size > self._max_header_bytes:
            self.app = self._too_large
        await super()._create_stream(request)
        self.app = app

    async def _maybe_recycle(self) -> None:
        await super()._maybe_recycle()
        if self._num_ahead():
            self.task_group.spawn(self._resume)

    async def _on_event(self, event: Event) -> None:
        match event:
            case RawData():
                self._wire.write(event.data)
                await self._wire.wait_for_room()
            case Closed():
                self._wire.close()
            case Updated():
                self._wire.set_idle(event.idle)
