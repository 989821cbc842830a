"""Requests that no application sees: an answer in OpenAI's envelope, whatever the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.errors import ApiError


def refusing(error: ApiError) -> ASGIApp:
    """An application that answers every HTTP request with `error`."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await error_response(error)(scope, receive, send)

    return refuse
