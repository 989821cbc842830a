"""Hypercorn's configuration: TLS, logging, what its HTTP/1.1 and WebSockets need. Pure.

Bounds of connections and streams are ours: `service.http.limits`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hypercorn.config import Config

from service.http.limits import HttpLimits

if TYPE_CHECKING:
    from service.settings import ServerSettings

FLUSH_TIMEOUT_S = 5.0
"""How long connections may take to write out what they hold, after the drain. The drain itself
(`drain_timeout_s`) is over by then: it happens while Hypercorn still serves, so that readiness and
new requests are answered 503 instead of being refused a connection."""


def hypercorn_config(server: ServerSettings) -> Config:
    """The configuration; it binds no socket and opens no file."""
    limits = HttpLimits()
    config = Config()
    config.bind = []  # the sockets are bound by `service.server`
    config.certfile = server.ssl_certfile
    config.keyfile = server.ssl_keyfile
    config.alpn_protocols = ["h2", "http/1.1"]

    config.h11_max_incomplete_size = limits.max_header_bytes
    config.keep_alive_max_requests = limits.max_requests  # HTTP/1.1 says "connection: close" then
    config.websocket_max_message_size = 2**20
    config.graceful_timeout = FLUSH_TIMEOUT_S
    config.include_server_header = False

    config.accesslog = None  # ours knows routes, trace ids and tokens
    config.errorlog = logging.getLogger("hypercorn.error")
    config.errorlog.setLevel(logging.WARNING)  # "Running on" is said by our banner
    return config
