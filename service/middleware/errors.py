"""The boundary where whatever a route raises becomes OpenAI's error envelope.

`error_handlers` serve errors that routes raise on purpose (and Starlette's own 404 and 405); the
middleware catches the rest: our mistakes, which are logged in full and told in one fixed sentence.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from engine.errors import EngineError
from service.body import BodyLimits, read
from service.errors import (
    ApiError,
    BadRequest,
    InternalFault,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Timeout,
    error_response,
    of_engine_error,
    quoted,
)
from service.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

_logger = logging.getLogger(__name__)


# What is read of the body of a request that nobody will look at. HTTP/2 would need none of it;
# over HTTP/1.1 an unread body costs the connection, and a client that still sends may not listen.
_REFUSED_BODY = BodyLimits(
    max_bytes=0, max_drain_bytes=2 * 2**20, max_stall_s=2.0, max_total_s=10.0
)


async def refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request whose body is unread: read it within narrow bounds, then `answer`.

    Raises:
        ClientDisconnect: there is nobody left to answer.
    """
    await _discard_body(receive)
    await answer(error, scope, receive, send)


async def _discard_body(receive: Receive) -> None:
    with contextlib.suppress(PayloadTooLarge, Timeout, TimeoutError):
        await read(receive, _REFUSED_BODY)


async def answer(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the envelope and note the error's code in the exchange."""
    Exchange.of(scope).error_type = error.code or str(error.status)
    await error_response(error)(scope, receive, send)


class ErrorMiddleware:
    """Nothing but cancellation gets past it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            Exchange.of(scope).client_left = True
            _logger.debug("the client left while it sent its request")
        except Exception:
            exchange = Exchange.of(scope)
            _logger.exception("a request failed", extra=exchange.log_ids)
            if has_started:
                # Too late for a status: without an end of the body the client sees it was cut.
                exchange.error_type = InternalFault.default_code
            else:
                await answer(InternalFault(), scope, receive, send)


def to_api_error(scope: Scope, error: Exception) -> ApiError:
    """The API's view of an error that has a handler."""
    match error:
        case ApiError():
            return error
        case EngineError():
            return of_engine_error(error)
        case HTTPException(status_code=404):
            return NotFound(f"There is no {quoted(scope['path'])} here.")
        case HTTPException(status_code=405):
            allow = (error.headers or {}).get("Allow", "")
            methods = ", ".join(sorted(method.strip() for method in allow.split(",")))
            return MethodNotAllowed(
                f"{quoted(scope['path'])} does not take the method {quoted(scope['method'])}.",
                headers={"allow": methods},
            )
        case _:
            return BadRequest("The request cannot be understood.")


async def _handle(request: Request, error: Exception) -> Response:
    api_error = to_api_error(request.scope, error)
    if isinstance(error, InternalFault):  # the client hears a fixed sentence, the operator why
        extra = Exchange.of(request.scope).log_ids
        _logger.error("a request failed", exc_info=error, extra=extra)
    if isinstance(error, HTTPException):  # raised by routing, before anyone read the body
        await _discard_body(request.receive)
    Exchange.of(request.scope).error_type = api_error.code or str(api_error.status)
    return error_response(api_error)


def error_handlers() -> Mapping[type[Exception], ExceptionHandler]:
    """For `Starlette(exception_handlers=…)`."""
    return {ApiError: _handle, EngineError: _handle, HTTPException: _handle}
