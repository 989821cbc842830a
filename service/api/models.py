"""`GET /v1/models` and `GET /v1/models/{model}`; ids may contain slashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from service.errors import ModelNotFound
from service.schemas.models import ModelList, ModelObject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request


class ModelsApi:
    """Tells what is served; a model is listed while it loads too."""

    def __init__(self, models: Sequence[ModelObject]) -> None:
        self._models = {model.id: model for model in models}

    async def list(self, request: Request) -> Response:
        return _json(ModelList(data=tuple(self._models.values())))

    async def retrieve(self, request: Request) -> Response:
        """One model. Raises `ModelNotFound`."""
        name: str = request.path_params["model"]
        if name not in self._models:
            raise ModelNotFound(name)
        return _json(self._models[name])


def _json(answer: ModelList | ModelObject) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
