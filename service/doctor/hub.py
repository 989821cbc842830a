"""The hub's cache, from which models with a hub id come."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from service.doctor.finding import Finding, note, ok, problem
from service.models_table import size_text

_SUBJECT = "hub"
_LITTLE_BYTES = 2 * 2**30


def look_at_hub(wants_download: bool) -> Finding:
    """`wants_download`: a model is to be served that is not there yet."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return hub(
        folder,
        is_offline=constants.HF_HUB_OFFLINE,
        is_writable=os.access(existing, os.W_OK),
        free_bytes=shutil.disk_usage(existing).free,
        wants_download=wants_download,
    )


def hub(
    folder: Path, *, is_offline: bool, is_writable: bool, free_bytes: int, wants_download: bool
) -> Finding:
    """Where it lies, and whether a download could succeed."""
    text = f"cache {folder}, {size_text(free_bytes)} free on its disk"
    state = problem if wants_download else note
    if is_offline:
        text += "; HF_HUB_OFFLINE is set: nothing is downloaded"
        remedy = "unset HF_HUB_OFFLINE for the first start, or name a folder"
        return problem(_SUBJECT, text, remedy) if wants_download else ok(_SUBJECT, text)
    if not is_writable:
        return state(_SUBJECT, f"{text}; it cannot be written to", "set HF_HOME to another folder")
    if free_bytes < _LITTLE_BYTES:
        return note(_SUBJECT, f"{text}: too little for most models", "set HF_HOME to another disk")
    return ok(_SUBJECT, text)
