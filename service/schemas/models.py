"""What `GET /v1/models` answers."""

from __future__ import annotations

from typing import Literal

import msgspec


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's model object; `max_model_len` (tokens of context) is what clients of vLLM read."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds. An integer: the SDK refuses a float."""
    owned_by: str = "kvorum"
    max_model_len: int


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's list; the model named on the command line comes first."""

    object: Literal["list"] = "list"
    data: tuple[ModelObject, ...]
