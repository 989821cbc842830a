"""From the headers of an HTTP/2 request to the stream that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from hypercorn.protocol.events import Request
from hypercorn.utils import filter_pseudo_headers

from service.errors import BadRequest, HeadersTooLarge, MethodNotAllowed
from service.http.h2_stream import Stream
from service.http.h2_websocket import WebSocket
from service.http.refusal import refusing

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from service.http.connection import Peer
    from service.http.h2_stream import AnyStream, Headers, Owner

_FIELD_OVERHEAD_BYTES = 32  # RFC 9113 6.5.2


class H2Requests:
    """Opens the streams of one connection."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        limit = peer.site.limits.max_header_bytes
        self._too_large = refusing(HeadersTooLarge(f"The headers exceed {limit} bytes."))
        self._not_ascii = refusing(BadRequest("The request's path or method is not ASCII."))
        self._no_tunnel = refusing(
            MethodNotAllowed("This is no proxy.", headers={"allow": "GET, POST"})
        )

    def open(self, owner: Owner, stream_id: int, headers: Headers) -> AnyStream:
        """The stream of a request that h2 has found to be valid."""
        pseudo = {name: value for name, value in headers if name.startswith(b":")}
        app: ASGIApp = self._peer.site.app
        size = sum(len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in headers)
        target = pseudo.get(b":path", b"/")
        method = pseudo[b":method"]
        if size > self._peer.site.limits.max_header_bytes:
            app = self._too_large
        elif not (target.isascii() and method.isascii()):
            app, target, method = self._not_ascii, b"/", b"GET"
        elif method == b"CONNECT":
            if pseudo.get(b":protocol") == b"websocket":
                return self._websocket(owner, stream_id, headers, target)
            app = self._no_tunnel
        return Stream(owner, stream_id, self._scope(headers, target, method), app)

    def _scope(self, headers: Headers, target: bytes, method: bytes) -> dict[str, Any]:
        path, _, query = target.partition(b"?")
        peer = self._peer
        return {
            "type": "http",
            "http_version": "2",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": method.decode("ascii").upper(),
            "scheme": "https" if peer.is_tls else "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": peer.site.config.root_path,
            "headers": filter_pseudo_headers(headers),
            "client": peer.client,
            "server": peer.server,
            "state": peer.site.state.copy(),
            "extensions": {},
        }

    def _websocket(
        self, owner: Owner, stream_id: int, headers: Headers, target: bytes
    ) -> AnyStream:
        request = Request(
            stream_id=stream_id,
            headers=filter_pseudo_headers(headers),
            http_version="2",
            method="CONNECT",
            raw_path=target,
            state=cast("Any", self._peer.site.state),
        )
        return WebSocket(owner, self._peer, request)
