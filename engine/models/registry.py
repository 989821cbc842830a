"""From what an operator names to a model that can be served.

Only the command line and an admin's load come here. A request never does: it names a model that
is already known, so no request can make the server read a folder or reach for a hub.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from engine.models.card import ModelCard, read_card
from engine.models.errors import ModelNotFound

EMBEDDED_MODEL = "kvorum-mini"
"""The model that comes with the package, and the default."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WANTED_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "LICENSE*"]
# Second copies of the weights for other programs, and anything that is code or pickled.
_UNWANTED_FILES = [
    "consolidated*",
    "*/*.safetensors",
    "*/*.json",
    "*.py",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.pkl",
    "*.gguf",
    "*.model",
]


def resolve(model: str | None = None, served_name: str | None = None) -> ModelCard:
    """The card of the model that `model` names: None or "kvorum-mini", a folder, or a hub id.

    It is served as `served_name`, else under its folder's name or its hub id. A hub id is
    downloaded if need be (never with HF_HUB_OFFLINE=1): safetensors, JSON and templates only.

    Raises ModelNotFound, UnsupportedModel, BadModelFolder; each says what to do next.
    """
    if model is None or model == EMBEDDED_MODEL:
        return read_card(_embedded_folder(), served_name or EMBEDDED_MODEL)
    folder = Path(model).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        return read_card(folder, served_name or folder.name)
    if not is_hub_id(model):
        raise ModelNotFound(
            f"there is no folder {model}; name {EMBEDDED_MODEL}, a model folder, or a hub id "
            "such as Qwen/Qwen3-0.6B"
        )
    return read_card(_download(model), served_name or model)


def is_hub_id(model: str) -> bool:
    """Whether the name can only be a repository of the hub."""
    return not Path(model).expanduser().is_dir() and _HUB_ID.fullmatch(model) is not None


def _embedded_folder() -> Path:
    return Path(str(files("engine").joinpath("embedded", EMBEDDED_MODEL)))


def _download(hub_id: str) -> Path:
    """Fetch a repository into the hub's cache, or find it there."""
    # Imported here: it costs a third of a second and only this function needs it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    # OSError (the disk), and the faults of whichever HTTP library the client is built on.
    network_faults: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        return Path(
            snapshot_download(hub_id, allow_patterns=_WANTED_FILES, ignore_patterns=_UNWANTED_FILES)
        )
    except GatedRepoError as error:
        advice = "it is gated; accept its terms on the hub and log in with `hf auth login`"
        raise ModelNotFound(f"{hub_id} cannot be downloaded: {advice}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        advice = "check the spelling; a private repository needs `hf auth login`"
        raise ModelNotFound(f"there is no repository {hub_id}: {advice}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        advice = (
            "it is not in the local cache and the hub cannot be reached or is switched off; "
            "unset HF_HUB_OFFLINE, download it elsewhere, or name a folder"
        )
        raise ModelNotFound(f"{hub_id} cannot be downloaded: {advice}") from error
    except network_faults as error:
        advice = "check the network and the free disk space, or name a folder"
        raise ModelNotFound(f"{hub_id} cannot be downloaded ({error}): {advice}") from error
