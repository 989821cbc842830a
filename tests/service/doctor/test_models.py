"""The models: files, texts, forms, room."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from engine.models.registry import resolve
from service.doctor import models
from service.doctor.hub import hub, look_at_hub
from service.doctor.torch_facts import Placement
from service.local_model import NotDownloaded, card_of, find_local
from service.settings import ModelEntry
from tests.service.running import settings_of

CARD = resolve()
ENTRY = ModelEntry(model="kvorum-mini")
ON_CPU = Placement(device="cpu", dtype="float32", weight_bytes=2**30, free_bytes=4 * 2**30)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the embedded model, to be spoilt."""
    return Path(shutil.copytree(CARD.path, tmp_path / "copied"))


def test_the_embedded_model_is_well() -> None:
    found = [*models.folder(CARD), *models.text(CARD, ENTRY)]
    assert [finding.state for finding in found] == ["ok", "ok"]
    assert "Qwen3ForCausalLM, 6.5 MiB in bfloat16, context 2,048" in found[0].text
    assert "form of tool calls: hermes, of reasoning: none" in found[1].text


def test_an_unknown_family_and_no_end_are_notes() -> None:
    card = msgspec.structs.replace(CARD, model_type="olmo", eos_token_ids=())
    assert [finding.state for finding in models.folder(card)] == ["ok", "note", "note"]


def test_forms_that_the_operator_names_are_told() -> None:
    entry = msgspec.structs.replace(ENTRY, tool_call_parser="none", reasoning_parser="qwen3")
    [found] = models.text(CARD, entry)
    assert found.text.endswith("form of tool calls: none, of reasoning: think")


@pytest.mark.parametrize("template", [None, "{% if %}", "{{ raise_exception('no') }}", ""])
def test_a_template_that_cannot_greet_is_a_problem_with_a_remedy(
    copied: Path, template: str | None
) -> None:
    (copied / "chat_template.jinja").unlink()
    if template is not None:
        (copied / "chat_template.jinja").write_text(template)
    [found] = models.text(find_local(str(copied)), ENTRY)
    assert found.state == "problem"
    assert found.remedy


def test_two_models_of_one_name_are_a_problem() -> None:
    assert list(models.names([("a", ["x"]), ("b", ["y"])])) == []
    [found] = models.names([("a", ["x"]), ("b", ["x"])])
    assert found.text == "two models are named x"
    assert list(models.names([("a", ["a"])])) == []


def test_what_fits_is_told_in_weights_context_and_room() -> None:
    found = models.memory(CARD, ON_CPU, None)
    assert found.state == "ok"
    assert found.text == (
        "kvorum-mini: 1.0 GiB of weights as float32 and 10.0 MiB for a full context; "
        "4.0 GiB free on cpu"
    )


def test_weights_that_do_not_fit_are_a_problem_and_a_context_that_does_not_a_note() -> None:
    small = msgspec.structs.replace(ON_CPU, free_bytes=2**29)
    assert models.memory(CARD, small, None).state == "problem"
    tight = msgspec.structs.replace(ON_CPU, free_bytes=2**30 + 2**20)
    assert models.memory(CARD, tight, None).state == "note"


def test_the_room_of_a_container_counts_for_the_cpu_alone() -> None:
    assert models.memory(CARD, ON_CPU, 2**29).state == "problem"
    on_gpu = msgspec.structs.replace(ON_CPU, device="cuda:0")
    assert models.memory(CARD, on_gpu, 2**29).state == "ok"


def test_a_model_that_cannot_be_placed_says_why_and_what_to_do() -> None:
    found = models.memory(CARD, Placement(fault="It is too odd. Take another."), None)
    assert (found.state, found.text) == ("problem", "kvorum-mini: It is too odd")
    assert found.remedy == "Take another."


@pytest.mark.parametrize(
    ("config", "num_bytes"),
    [
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}, 2 * 2 * 4 * 16 * 2),
        ({"n_layer": 2, "n_head": 4, "n_embd": 64}, 2 * 2 * 4 * 16 * 2),
        (
            {
                "text_config": {
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                    "num_key_value_heads": 1,
                    "head_dim": 8,
                }
            },
            2 * 2 * 1 * 8 * 2,
        ),
        ({}, 0),
    ],
)
def test_a_tokens_bytes_are_read_from_every_kind_of_config(
    config: dict[str, object], num_bytes: int
) -> None:
    assert models.bytes_per_token(config, "bfloat16") == num_bytes
    assert models.bytes_per_token(config, "float32") == 2 * num_bytes


def test_a_hub_id_is_looked_for_on_this_machine_alone(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(NotDownloaded, match="not on this machine yet"):
        find_local("some/model")
    monkeypatch.setattr("service.local_model._cached_folder", lambda _: copied)
    assert find_local("some/model").name == "some/model"
    (copied / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(NotDownloaded, match="fetches the rest"):
        find_local("some/model")


def test_all_models_of_the_settings_are_listed_with_what_they_take_from_the_first(
    copied: Path,
) -> None:
    settings = settings_of(
        "--served-model-name", "main", "--max-model-len", "100", "--dtype", "float32",
        "--more-models", f"other={copied}",
    )  # fmt: skip
    first, second = settings.entries
    assert card_of(first).name == "main"
    assert card_of(first).max_model_len == 100
    assert card_of(second).name == "other"
    assert card_of(second).max_model_len == 2048
    assert (first.dtype, second.dtype) == ("float32", "float32")


def test_a_weight_file_that_is_cut_off_is_told_as_serve_tells_it(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"layer_types": ["linear_attention"]}))
    with pytest.raises(ValueError, match="layers of type linear_attention"):
        find_local(str(copied))


def state_of_hub(*, wants: bool, offline: bool = False, writable: bool = True) -> str:
    return hub(
        Path("/cache"),
        is_offline=offline,
        is_writable=writable,
        free_bytes=2**40,
        wants_download=wants,
    ).state


def test_a_hub_that_cannot_serve_a_download_is_a_problem_if_one_is_needed() -> None:
    assert look_at_hub(wants_download=False).state in ("ok", "note")
    assert state_of_hub(wants=True) == "ok"
    assert state_of_hub(wants=True, offline=True) == "problem"
    assert state_of_hub(wants=False, offline=True) == "ok"
    assert state_of_hub(wants=True, writable=False) == "problem"
    assert state_of_hub(wants=False, writable=False) == "note"
    full = hub(
        Path("/cache"), is_offline=False, is_writable=True, free_bytes=2**20, wants_download=True
    )
    assert full.state == "note"
