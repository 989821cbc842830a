"""What `GET /v1/models` answers."""

from __future__ import annotations

from typing import Literal

import msgspec

ModelState = Literal["unloaded", "loading", "loaded", "leaving", "failed"]


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's model object; `max_model_len` (tokens of context) is what clients of vLLM read.

    What follows is Kvorum's own: where the model stands, how much of its weights is loaded (0 to
    1), why it could not be loaded, and how much memory it takes while it is.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds. An integer: the SDK refuses a float."""
    owned_by: str = "kvorum"
    max_model_len: int
    kind: str
    state: ModelState
    progress: float
    error: str | None = None
    aliases: tuple[str, ...] = ()
    pinned: bool = False
    memory_bytes: int = 0


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's list; the model named on the command line comes first."""

    object: Literal["list"] = "list"
    data: tuple[ModelObject, ...]


class ModelMove(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a load or an unload may be asked with: `stream` sends progress as events."""

    stream: bool = False
