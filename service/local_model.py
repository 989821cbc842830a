"""Finds a model on this machine alone: for commands that tell of it and must not download it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.models.errors import BadModelFolder, ModelNotFound
from engine.models.registry import is_hub_id, resolve

if TYPE_CHECKING:
    from engine.models.card import ModelCard
    from service.settings import ModelEntry


class NotDownloaded(ModelNotFound):
    """A hub id of which the hub's cache has not everything; the text says what to do."""


def find_local(model: str, served_name: str | None = None) -> ModelCard:
    """What `resolve` gives, but nothing is fetched.

    Raises:
        NotDownloaded: serving it would download it first.
        ModelError: what `resolve` would say.
    """
    if not is_hub_id(model):
        return resolve(model, served_name)
    folder = _cached_folder(model)
    if folder is None:
        raise NotDownloaded(f"{model} is not on this machine yet; `kvorum serve` downloads it")
    try:
        return resolve(str(folder), served_name or model)
    except BadModelFolder as error:
        raise NotDownloaded(
            f"{model} is not whole in the hub's cache ({error}); `kvorum serve` fetches the rest"
        ) from None


def card_of(entry: ModelEntry) -> ModelCard:
    """Its card, with the context that clients get. Raises as `find_local` does."""
    card = find_local(entry.model, entry.name)
    context = min(entry.max_model_len or card.max_model_len, card.max_model_len)
    return msgspec.structs.replace(card, max_model_len=context)


def _cached_folder(hub_id: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except HFValidationError as error:
        raise ModelNotFound(f"there is no repository {hub_id}: {error}") from None
    except LocalEntryNotFoundError:
        return None
