"""The banner: what a person needs first, in fifteen lines."""

from __future__ import annotations

import json
import shlex

import pytest

from service.banner import banner, url_of
from tests.fakes import READY


def text_of(**changes: object) -> str:
    facts: dict[str, object] = {
        "model": "kvorum-mini",
        "ready": READY,
        "urls": ["http://127.0.0.1:8000"],
        "needs_key": False,
        "host": "127.0.0.1",
        "version": "1.2.3",
    }
    return banner(**(facts | changes))  # type: ignore[arg-type]


def test_it_says_what_runs_where_and_how_to_ask() -> None:
    text = text_of()
    for fact in (
        "kvorum-mini",
        "1.0 M parameters",
        "float32",
        "cpu",
        "64 blocks x 16 = 1,024 tokens",
        "512 tokens",
        "http://127.0.0.1:8000/v1",
        "http://127.0.0.1:8000/metrics",
        "no API key",
        "1.2.3",
    ):
        assert fact in text
    assert len(text.strip().splitlines()) <= 15


@pytest.mark.parametrize("name", ["kvorum-mini", "o'brien's model", 'a"b', "models/ü"])
def test_the_curl_can_be_pasted_whatever_the_model_is_called(name: str) -> None:
    text = text_of(model=name)
    words = shlex.split(text[text.index("curl") :].replace("\\\n", " "))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    assert json.loads(words[words.index("-d") + 1])["model"] == name


def test_a_needed_key_is_said_and_part_of_the_curl() -> None:
    text = text_of(needs_key=True)
    assert "API key needed" in text
    assert "Bearer $KVORUM_API_KEY" in text


def test_an_open_server_on_the_network_is_warned_about() -> None:
    assert "OPEN" in text_of(host="0.0.0.0")
    assert "OPEN" not in text_of(host="0.0.0.0", needs_key=True)
    assert "OPEN" not in text_of()


@pytest.mark.parametrize(
    ("host", "is_tls", "url"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:1"),
        ("0.0.0.0", False, "http://127.0.0.1:1"),
        ("::", True, "https://[::1]:1"),
        ("fe80::1", False, "http://[fe80::1]:1"),
        ("example.org", True, "https://example.org:1"),
    ],
)
def test_the_url_is_one_that_can_be_opened(host: str, is_tls: bool, url: str) -> None:
    assert url_of(host, 1, is_tls=is_tls) == url
