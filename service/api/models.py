"""`GET /v1/models` and `/v1/models/{model}`, `POST .../load` and `.../unload`; ids may have slashes."""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from engine.errors import EngineError
from service.body import BodyLimits, decode, read_json
from service.disconnect import unless_disconnected
from service.errors import Forbidden, of_engine_error
from service.models.progress import ModelProgress
from service.schemas.models import ModelList, ModelMove, ModelObject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from service.models.manager import ModelManager
    from service.models.registry import RegisteredModel

_LIMITS = BodyLimits(max_bytes=1024, max_drain_bytes=64 * 1024)
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class ModelsApi:
    """Tells what is served and where it stands; loads and unloads for whoever may."""

    def __init__(self, manager: ModelManager, *, needs_loopback: bool) -> None:
        """`needs_loopback`: there is no key, so that only this machine's own programs may."""
        self._manager = manager
        self._needs_loopback = needs_loopback

    async def list(self, request: Request) -> Response:
        """All models, loaded or not, the first one first."""
        data = [model_object(self._manager, model) for model in self._manager.registry]
        return _json(ModelList(data=tuple(data)))

    async def retrieve(self, request: Request) -> Response:
        """One model. Raises `ModelNotFound`."""
        model = self._manager.registry.find(request.path_params["model"])
        return _json(model_object(self._manager, model))

    async def load(self, request: Request) -> Response:
        """The model, once it is loaded; with `stream` its progress as events.

        Raises:
            ApiError: it cannot be loaded, or the caller may not ask for it.
        """
        return await self._move(request, self._manager.load)

    async def unload(self, request: Request) -> Response:
        """The model, once its memory is free; its running answers end with an error.

        Raises:
            ApiError: the engine is dead, or the caller may not ask for it.
        """
        return await self._move(request, self._manager.unload)

    async def _move(self, request: Request, move: Callable[[str], Awaitable[object]]) -> Response:
        body = await read_json(request, _LIMITS)
        if self._needs_loopback:
            _check_loopback(request)
        asked = decode(body, ModelMove) if body else ModelMove()
        model = self._manager.registry.find(request.path_params["model"])
        if asked.stream:
            tell = partial(model_object, self._manager, model)
            return ModelProgress(partial(move, model.name), tell)
        try:
            await unless_disconnected(request.receive, partial(move, model.name))
        except EngineError as error:
            raise of_engine_error(error) from None
        return _json(model_object(self._manager, model))


def model_object(manager: ModelManager, model: RegisteredModel) -> ModelObject:
    """What is told of a model."""
    return ModelObject(
        id=model.name,
        created=model.card.created,
        max_model_len=model.max_model_len,
        kind=model.card.kind,
        state=manager.state_of(model).value,
        progress=round(manager.progress_of(model), 4),
        error=manager.fault_of(model),
        aliases=model.aliases,
        pinned=model.is_pinned,
        memory_bytes=manager.bytes_of(model),
    )


def _check_loopback(request: Request) -> None:
    """Raises Forbidden. A page in a browser, or a stranger behind a proxy, comes from here too, but
    says so in a header."""
    headers = request.headers
    is_direct = "origin" not in headers and not any(name in headers for name in _FORWARDED)
    if not (is_direct and request.client and _is_loopback(request.client.host)):
        raise Forbidden(
            "Without an API key only programs on this machine may load and unload models. "
            "Start the server with --api-key."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _json(answer: ModelList | ModelObject) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
