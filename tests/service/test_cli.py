"""The command: exit codes, one or two lines on stderr, nothing heavy before the settings hold."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

import observability.log
from service import cli
from service.knobs import all_knobs
from service.settings_load import load


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables of the machine, and the test run's logging stays as it is."""
    for knob in all_knobs():
        monkeypatch.delenv(knob.env, raising=False)
    monkeypatch.setattr(observability.log, "configure_logging", lambda *_: None)


def test_help_mentions_every_setting_its_default_and_its_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for knob in all_knobs():
        expected = f"{knob.description} [default {knob.shown_default}; env {knob.env}]"
        assert expected in text
    assert "examples:" in text
    assert "exit codes:" in text


def test_no_command_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for command in ("serve [MODEL]", "doctor [MODEL]", "models [MODEL]", "config", "version"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize(
    "argv", [["sreve"], ["serve", "--prot", "1"], ["serve", "a", "b"], ["config", "--port", "x"]]
)
def test_wrong_usage_is_2_and_two_lines_at_most(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kvorum: ")
    assert 1 <= len(captured.err.splitlines()) <= 2


def test_version_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.startswith("kvorum ")


def test_config_shows_values_sources_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVORUM_API_KEY", "sk-canary-0123456789")
    assert cli.main(["config", "--port", "9"]) == 0
    text = capsys.readouterr().out
    assert "canary" not in text
    assert "…6789" in text
    [line] = [line for line in text.splitlines() if line.startswith("port")]
    assert line.split() == ["port", "=", "9", "#", "--port"]


def test_what_config_prints_can_be_read_back(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    argv = ["--port", "9", "--dtype", "float16", "--drain-timeout-s", "2.5", "--host", '"x']
    assert cli.main(["config", *argv]) == 0
    file = tmp_path_factory.mktemp("config") / "kvorum.toml"
    file.write_text(capsys.readouterr().out)
    assert load(["--config", str(file)], {}).settings == load(argv, {}).settings


@pytest.mark.parametrize("command", ["doctor", "models", "config"])
def test_every_command_takes_the_flags_of_serve(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert all(knob.is_positional or f"{knob.flag} " in text for knob in all_knobs())


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m service doctor | head -1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == "0"


def test_an_unknown_model_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "/no/such/folder"]) == 3
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert 1 <= len(error.splitlines()) <= 3


def test_a_taken_port_is_4_and_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--port", str(port)]) == 4
    error = capsys.readouterr().err
    assert f"port {port} on 127.0.0.1 is taken" in error
    assert "--port" in error
    assert len(error.splitlines()) == 2


def test_a_parser_that_is_not_there_is_2_and_told_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["serve", "/no/such/folder", "--reasoning-parser", "deepthink"]) == 2
    error = capsys.readouterr().err
    assert "--reasoning-parser" in error
    assert "auto, none, deepseek_r1" in error
    assert len(error.splitlines()) == 1


def test_wrong_settings_are_told_before_anything_heavy_is_imported() -> None:
    program = (
        "import sys; from service.cli import main; code = main(['serve', '--port', 'x']); "
        "heavy = {'torch', 'transformers', 'starlette', 'hypercorn', 'tokenizers'}; "
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "2 []"


def test_python_dash_m_service_is_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "service", "version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("kvorum ")


def test_the_http_side_imports_neither_torch_nor_transformers() -> None:
    program = (
        "import sys; import service.server; from engine.models.registry import resolve; resolve(); "
        "print(sorted({'torch', 'transformers', 'opentelemetry'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
