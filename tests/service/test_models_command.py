"""`kvorum models`: what would be served here, and what a server elsewhere says."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import msgspec
import pytest

from engine.models.registry import resolve
from service import cli
from service.knobs import all_knobs
from service.models_table import listed, table
from service.remote_models import CannotAsk, ask, remote_table

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-canary-0123456789"
MODEL = {"id": "far", "object": "model", "created": 1, "owned_by": "them"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for knob in all_knobs():
        monkeypatch.delenv(knob.env, raising=False)


def test_the_models_of_the_settings_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--served-model-name", "mine", "--max-model-len", "100"]) == 0
    titles, row = capsys.readouterr().out.splitlines()
    assert titles.split() == [
        "NAME", "ALIASES", "KIND", "ARCHITECTURE", "SIZE", "DTYPE", "CONTEXT", "SUPPORT",
    ]  # fmt: skip
    assert row.split() == [
        "mine", "-", "text-generation", "Qwen3ForCausalLM", "6.5", "MiB", "bfloat16", "100", "tested",
    ]  # fmt: skip


def test_json_has_the_same_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--json", "--more-models", "two=kvorum-mini"]) == 0
    first, second = json.loads(capsys.readouterr().out)["data"]
    assert (first["id"], second["id"]) == ("kvorum-mini", "two")
    assert first["architecture"] == "Qwen3ForCausalLM"
    assert first["max_model_len"] == 2048
    assert first["aliases"] == []


def test_aliases_families_and_quantization_are_shown() -> None:
    card = msgspec.structs.replace(
        resolve(), name="big", model_type="olmo", quantization="mxfp4", size_bytes=3 * 2**30
    )
    text = table(listed([(card, ("a", "b")), (resolve(), ())]))
    first, second = text.splitlines()[1:]
    assert "a, b" in first
    assert "mxfp4 (bfloat16)" in first
    assert "3.0 GiB" in first
    assert first.endswith("not tested")
    assert second.endswith(" tested")


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["/no/such/folder"], 3), (["--prot", "1"], 2), (["--url", "ftp://x"], 1), (["--url"], 2)],
)
def test_what_does_not_work_is_a_line_and_an_exit_code(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", *argv]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1


@contextmanager
def server(status: int = 200, body: bytes | None = None) -> Iterator[tuple[str, list[str]]]:
    """A server that answers every GET alike; its address, and what it was asked."""
    asked: list[str] = []
    answer = json.dumps({"object": "list", "data": [MODEL]}).encode() if body is None else body

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('authorization')}")
            self.send_response(status)
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{listener.server_address[1]}", asked
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://{}", "/v1/models"),
        ("http://{}/", "/v1/models"),
        ("http://{}/v1/", "/v1/models"),
        ("{}", "/v1/models"),
        ("http://{}/base/v1", "/base/v1/models"),
        ("http://user:pass@{}/x", "/x/v1/models"),
    ],
)
def test_a_server_is_asked_at_every_form_of_its_address(url: str, path: str) -> None:
    with server() as (address, asked):
        assert [msgspec.json.decode(raw) for raw in ask(url.format(address), KEY)] == [MODEL]
    assert asked == [f"{path} Bearer {KEY}"]


def test_the_command_asks_with_the_key_of_the_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVORUM_API_KEY", KEY)
    with server() as (address, asked):
        assert cli.main(["models", "--url", address]) == 0
        assert cli.main(["models", "--url", address, "--json"]) == 0
    assert asked == [f"/v1/models Bearer {KEY}"] * 2
    text = capsys.readouterr().out
    assert "far" in text.splitlines()[1]
    assert json.loads(text[text.index("{") :]) == {"data": [MODEL]}


@pytest.mark.parametrize(
    ("status", "body", "key", "expected"),
    [
        (401, b"", None, "wants a key"),
        (401, b"", KEY, "refuses the key"),
        (404, b"", KEY, "answers 404; is that an OpenAI-compatible server?"),
        (302, b"", KEY, "answers 302"),
        (200, b"<html>", None, "no list of models"),
        (200, b'{"data": 1}', None, "no list of models"),
        (200, b"\xff", None, "no list of models"),
    ],
)
def test_an_answer_that_is_no_list_is_told_in_words(
    status: int, body: bytes, key: str | None, expected: str
) -> None:
    with server(status, body) as (address, asked), pytest.raises(CannotAsk) as caught:
        ask(address, key)
    assert expected in str(caught.value)
    assert "canary" not in str(caught.value)
    assert len(asked) == 1


def test_nobody_there_and_no_such_host_are_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(CannotAsk, match=f"nothing listens on {address}"):
        ask(address, None)
    with pytest.raises(CannotAsk, match=r"there is no host a\.\.b"):
        ask("http://a..b", None)
    for url in ("http://", "file:///etc/passwd", "http://x:99999", "http://127.0.0.1:1/a b"):
        with pytest.raises(CannotAsk, match="no address of a server"):
            ask(url, None)


def test_plain_http_where_tls_is_wanted_is_told() -> None:
    with server() as (address, _), pytest.raises(CannotAsk, match="does not speak TLS"):
        ask(f"https://{address}", None)


def test_a_table_shows_what_others_do_not_say_as_a_dash_and_steers_no_terminal() -> None:
    full = {
        **MODEL,
        "id": "\x1b[31mred",
        "max_model_len": 4096,
        "state": "loaded",
        "aliases": ["a"],
    }
    answer = [msgspec.Raw(json.dumps(model).encode()) for model in (MODEL, full, {"id": 5})]
    titles, first, second = remote_table(answer).splitlines()
    assert titles.split() == ["NAME", "ALIASES", "KIND", "STATE", "CONTEXT", "OWNER"]
    assert first.split() == ["far", "-", "-", "-", "-", "them"]
    assert second.split() == ["?[31mred", "a", "-", "loaded", "4,096", "them"]
