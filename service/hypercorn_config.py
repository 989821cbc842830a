"""Hypercorn's configuration: limits against abuse, TLS, logging. One pure function.

Each number that is not Hypercorn's default has its reason beside it; most of them answer a fault
that was measured.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hypercorn.config import Config

if TYPE_CHECKING:
    from service.settings import ServerSettings

FLUSH_TIMEOUT_S = 5.0
"""How long connections may take to write out what they hold, after the drain. The drain itself
(`drain_timeout_s`) is over by then: it happens while Hypercorn still serves, so that readiness and
new requests are answered 503 instead of being refused a connection."""

_HEADER_BYTES = 16 * 1024


def hypercorn_config(server: ServerSettings) -> Config:
    """The configuration; it binds no socket and opens no file."""
    config = Config()
    config.bind = []  # the sockets are bound by `service.server`
    config.certfile = server.ssl_certfile
    config.keyfile = server.ssl_keyfile
    config.alpn_protocols = ["h2", "http/1.1"]

    config.h11_max_incomplete_size = _HEADER_BYTES
    config.h2_max_header_list_size = _HEADER_BYTES  # default 64 KiB: held for each stream
    # Above the limit Hypercorn closes the connection with all its streams instead of refusing one.
    config.h2_max_concurrent_streams = 1024
    # After this many requests on a connection Hypercorn cuts the streams that still run.
    config.keep_alive_max_requests = 2**31
    config.keep_alive_timeout = 5.0  # also how long a connection the client closed stays around
    config.read_timeout = None  # would cut a long answer whose client has nothing more to say
    config.websocket_max_message_size = 2**20
    config.graceful_timeout = FLUSH_TIMEOUT_S
    config.include_server_header = False

    config.accesslog = None  # ours knows routes, trace ids and tokens
    config.errorlog = logging.getLogger("hypercorn.error")
    config.errorlog.setLevel(logging.WARNING)  # "Running on" is said by our banner
    return config
