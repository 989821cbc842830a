"""One log line for each request, after its last byte: no content, no headers, no query string."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from service.exchange import Exchange, route_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

_logger = logging.getLogger("kvorum.access")

# What machines ask every few seconds would bury what people ask: said at debug level, also the
# "not yet" of a server that loads.
_PROBES = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})


class AccessLogMiddleware:
    """Must lie inside the tracing middleware, whose exchange it reads."""

    def __init__(self, app: ASGIApp, clock_ns: Callable[[], int]) -> None:
        self._app = app
        self._clock_ns = clock_ns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                self._log(scope, Exchange.of(scope))

    def _log(self, scope: Scope, exchange: Exchange) -> None:
        is_usual = exchange.status_code is not None and exchange.status_code in (200, 503)
        level = logging.DEBUG if is_usual and scope["path"] in _PROBES else logging.INFO
        if not _logger.isEnabledFor(level):
            return
        route = route_template(scope)
        duration_s = (self._clock_ns() - exchange.start_ns) / 1e9
        fields: dict[str, object] = {
            **exchange.log_ids,
            "method": scope["method"],
            "route": route,
            "status_code": exchange.status_code,
            "duration_s": round(duration_s, 6),
            "error_type": exchange.error_type,
        }
        generation = exchange.generation
        if generation is not None:
            fields["model"] = generation.model
            fields["prompt_tokens"] = generation.prompt_tokens
            fields["output_tokens"] = generation.output_tokens
            fields["finish_reason"] = ",".join(generation.finish_reasons) or None
            if generation.first_token_ns is not None:
                waited_ns = generation.first_token_ns - generation.start_ns
                fields["first_token_s"] = round(waited_ns / 1e9, 6)
        outcome = "client left" if exchange.client_left else "answered"
        _logger.log(level, outcome, extra=fields)
