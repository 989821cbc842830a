"""A name, a folder or a hub id becomes a card; anything else becomes advice."""

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors as hub

from engine.models.errors import ModelNotFound
from engine.models.registry import EMBEDDED_MODEL, resolve

EMBEDDED = Path(__file__).parents[3] / "engine" / "embedded" / EMBEDDED_MODEL
needs_embedded = pytest.mark.skipif(
    not (EMBEDDED / "model.safetensors").is_file(), reason="the embedded model is not there"
)


@needs_embedded
def test_no_name_and_the_embedded_name_are_the_embedded_model() -> None:
    assert resolve() == resolve(EMBEDDED_MODEL)
    assert Path(resolve().path) == EMBEDDED
    assert resolve(None, "gpt").name == "gpt"


@needs_embedded
def test_a_folder_is_served_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "my-model").symlink_to(EMBEDDED)
    (tmp_path / "copy").mkdir()
    for file in EMBEDDED.iterdir():
        (tmp_path / "copy" / file.name).symlink_to(file)
    assert resolve(str(tmp_path / "copy")).name == "copy"
    assert resolve(str(tmp_path / "copy" / ".." / "copy")).name == "copy"
    assert resolve(str(tmp_path / "copy"), "other").name == "other"


@needs_embedded
def test_a_hub_id_is_downloaded_without_code_or_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def download(repo: str, **kwargs: object) -> str:
        asked.update(kwargs, repo=repo)
        return str(EMBEDDED)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("org/name").name == "org/name"
    allowed, ignored = asked["allow_patterns"], asked["ignore_patterns"]
    files = ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"]
    unwanted = ["modeling_x.py", "pytorch_model.bin", "onnx/model.onnx", "original/a.safetensors"]
    kept = huggingface_hub.utils.filter_repo_objects(
        [*files, *unwanted], allow_patterns=allowed, ignore_patterns=ignored
    )
    assert list(kept) == files


@pytest.mark.parametrize(
    "name", ["kvorum-maxi", "./none", "/no/such", "a/b/c", "../x/y", "", "org/"]
)
def test_what_is_neither_folder_nor_hub_id_is_not_looked_up(
    monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked"))
    if not name:
        name = "no folder"
    with pytest.raises(ModelNotFound, match="hub id"):
        resolve(name)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (hub.LocalEntryNotFoundError("x"), "HF_HUB_OFFLINE"),
        (hub.OfflineModeIsEnabled("x"), "HF_HUB_OFFLINE"),
        (hub.HFValidationError("x"), "spelling"),
        (OSError(28, "disk is full"), "disk is full"),
        (hub.HfHubHTTPError.__bases__[0]("reset"), "check the network"),
    ],
)
def test_network_faults_become_advice(
    monkeypatch: pytest.MonkeyPatch, error: Exception, advice: str
) -> None:
    def download(repo: str, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelNotFound, match=advice):
        resolve("org/name")
