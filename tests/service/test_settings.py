"""Settings: every knob once, precedence, errors that say where and what, no secret shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from service.knobs import all_knobs, describe
from service.settings import Settings, SettingsError, redact
from service.settings_load import load

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-canary-0123456789"


def test_nothing_given_means_the_defaults() -> None:
    loaded = load([], {})
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "kvorum.toml"
    file.write_text('[server]\nport = 1\nhost = "1.1.1.1"\n[engine]\nmax_running = 11\n')
    flags = ["--config", str(file), "--port", "3"]
    loaded = load(flags, {"KVORUM_PORT": "2", "KVORUM_HOST": "2.2.2.2"})
    assert loaded.settings.server.port == 3
    assert loaded.settings.server.host == "2.2.2.2"
    assert loaded.settings.engine.max_running == 11
    assert loaded.settings.engine.max_waiting == 1024
    assert loaded.sources["server.port"] == "--port"
    assert loaded.sources["server.host"] == "KVORUM_HOST"
    assert loaded.sources["engine.max_running"] == str(file)


def test_the_callers_defaults_stand_below_everything(tmp_path: Path) -> None:
    defaults = load(["--port", "77", "--host", "::1"], {}).settings
    assert load(["--port", "78"], {}, defaults).settings.server.port == 78
    assert load([], {}, defaults).settings.server.host == "::1"


def test_a_json_file_is_read_and_can_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "kvorum.json"
    file.write_text(json.dumps({"model": {"dtype": "float16"}}))
    assert load([], {"KVORUM_CONFIG": str(file)}).settings.model.dtype == "float16"


@pytest.mark.parametrize("name", ["auto", "none", "mistral"])
def test_parsers_are_chosen_by_name_wherever_settings_are(tmp_path: Path, name: str) -> None:
    file = tmp_path / "kvorum.toml"
    file.write_text(f'[model]\nreasoning_parser = "{name}"\n')
    environ = {"KVORUM_TOOL_CALL_PARSER": name, "KVORUM_CONFIG": str(file)}
    model = load([], environ).settings.model
    assert (model.tool_call_parser, model.reasoning_parser) == (name, name)
    flags = ["--tool-call-parser", name, "--reasoning-parser", name]
    assert load(flags, {}).settings.model == model


def test_the_model_is_the_positional_argument() -> None:
    loaded = load(["some/model", "--port", "1"], {"KVORUM_MODEL": "other"})
    assert loaded.settings.model.model == "some/model"
    assert loaded.sources["model.model"] == "MODEL"


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        (["--prot", "1"], {}, "unknown argument --prot; did you mean --port?"),
        (["--prot=1"], {}, "unknown argument --prot; did you mean --port?"),
        ([], {"KVORUM_PROT": "1"}, "KVORUM_PROT; did you mean KVORUM_PORT?"),
        ([], {"KVORUM_ZZZZ": "1"}, "unknown environment variable KVORUM_ZZZZ"),
        (["--dtype", "floot32"], {}, "--dtype (model.dtype): must be one of auto, float32"),
        (["--dtype", "floot32"], {}, "did you mean float32?"),
        (["--tool-call-parser", "hermez"], {}, "--tool-call-parser (model.tool_call_parser): must"),
        (["--tool-call-parser", "hermez"], {}, "must be one of auto, none, deepseek_v3, "),
        (["--tool-call-parser", "hermez"], {}, "did you mean hermes?"),
        ([], {"KVORUM_REASONING_PARSER": "kwen3"}, "KVORUM_REASONING_PARSER (model.reasoning_par"),
        ([], {"KVORUM_REASONING_PARSER": "kwen3"}, "openai_gptoss, qwen3, seed_oss, think; did"),
        (["--port", "70000"], {}, "--port (server.port): Expected `int` <= 65535"),
        (["--port", "-1"], {}, "--port (server.port): Expected `int` >= 0"),
        ([], {"KVORUM_PORT": "http"}, "KVORUM_PORT (server.port): Expected `int`"),
        (["--request-timeout-s", "nan"], {}, "limits.request_timeout_s"),
        (["--drain-timeout-s", "inf"], {}, "server.drain_timeout_s"),
        (["--device", "gpu"], {}, "must be auto, cpu, cuda or cuda:N"),
        (["--max-running", "0"], {}, "engine.max_running"),
        (["--port"], {}, "--port: expected one argument"),
        (["--po", "1"], {}, "unknown argument --po"),
        (["--ssl-certfile", "x.pem"], {}, "TLS needs both"),
        (["--config", "absent.toml"], {}, "absent.toml: No such file"),
        (["--api-key", "a b"], {}, "must be printable ASCII"),
        ([], {"KVORUM_API_KEY": ""}, "not empty"),
    ],
)
def test_an_error_names_the_source_and_the_way_out(
    argv: list[str], environ: dict[str, str], expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(argv, environ)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1\n", "unknown setting server.prot; did you mean server.port?"),
        ("[sever]\nport = 1\n", "unknown section [sever]; did you mean server?"),
        ("port = 1\n", "did you mean server.port?"),
        ("server = 1\n", "[server] must be a table"),
        ("[server\n", "not valid TOML"),
        ("[server]\nport = 'x'\n", "(server.port): Expected `int`"),
    ],
)
def test_an_error_in_the_file_names_the_file_and_the_entry(
    tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "kvorum.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(["--config", str(file)], {})
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)


def test_variables_that_kubernetes_injects_for_a_service_of_our_name_are_left_alone() -> None:
    environ = {
        "KVORUM_PORT": "tcp://10.0.0.1:8000",
        "KVORUM_SERVICE_HOST": "10.0.0.1",
        "KVORUM_SERVICE_PORT": "8000",
        "KVORUM_SERVICE_PORT_HTTP": "8000",
        "KVORUM_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "KVORUM_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    assert load([], environ).settings == Settings()


def test_an_empty_variable_counts_as_unset() -> None:
    assert load([], {"KVORUM_PORT": "", "KVORUM_MODEL": ""}).settings == Settings()


def test_the_key_can_come_from_a_file_but_not_from_two_places(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    loaded = load(["--api-key-file", str(file)], {})
    assert loaded.settings.auth.api_key == KEY
    assert loaded.sources["auth.api_key"] == str(file)
    with pytest.raises(SettingsError, match="both given"):
        load(["--api-key-file", str(file)], {"KVORUM_API_KEY": KEY})


def test_an_empty_key_file_is_an_error_not_an_open_server(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("\n")
    with pytest.raises(SettingsError, match="not empty"):
        load(["--api-key-file", str(file)], {})


def test_no_repr_and_no_error_shows_the_key() -> None:
    loaded = load(["--api-key", KEY], {})
    assert KEY not in repr(loaded)
    assert "…6789" in repr(loaded)
    with pytest.raises(SettingsError) as caught:
        load(["--api-key", f"{KEY} {KEY}"], {})
    assert "canary" not in str(caught.value)


def test_a_short_secret_is_not_shown_at_all() -> None:
    assert redact("secret") == "…"
    assert redact(None) is None


def test_names_are_unique_although_flags_and_variables_carry_no_section() -> None:
    names = [knob.name for knob in all_knobs()]
    assert len(names) == len(set(names))
    assert "config" not in names


def test_every_default_is_valid_by_its_own_bounds() -> None:
    for knob in all_knobs():
        if knob.default is not None:
            flags = [] if knob.is_positional else [knob.flag, str(knob.default)]
            assert load(flags, {}).settings == Settings(), knob.path


def test_the_document_names_every_knob_and_all_its_names() -> None:
    document = describe()
    for knob in all_knobs():
        assert f"| `{knob.name}` |" in document
        assert knob.env in document
        assert knob.description in document
        assert knob.is_positional or knob.flag in document
