"""How many tokens a text has: by a file on this machine, or by the server that is measured."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from observability.bench.errors import CannotAsk, CannotMeasure, WrongOption
from observability.bench.plan import Target
from observability.bench.workload.counter import ServerCounter, TokenizerCounter, counter_of
from tests.observability.bench.tokenizers_of_tests import bytes_alone, embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXTS = ["", "the", "Hello, world!", "naïve 的 🙂", *(f"text {n}" * n for n in range(20))]
LENGTHS = [len(text.encode()) for text in TEXTS]

Answer = tuple[int, object]


def like_vllm(body: dict[str, object], key: str | None) -> Answer:
    """As vLLM and Kvorum answer; it knows no field but these."""
    if key != "Bearer secret":
        return 401, {"error": "no"}
    if set(body) != {"model", "prompt", "add_special_tokens"} or body["add_special_tokens"]:
        return 400, {"error": "unknown fields"}
    ids = list(str(body["prompt"]).encode())
    return 200, {"count": len(ids), "max_model_len": 4096, "tokens": ids}


def like_llama_cpp(body: dict[str, object], key: str | None) -> Answer:
    """No content is an empty text, and there is no count."""
    return 200, {"tokens": list(str(body.get("content", "")).encode())}


def without_route(body: dict[str, object], key: str | None) -> Answer:
    return 404, {"detail": "Not Found"}


def like_no_counter(body: dict[str, object], key: str | None) -> Answer:
    return 200, [1, 2, 3]


@contextmanager
def server_of(answer: Callable[[dict[str, object], str | None], Answer]) -> Iterator[Target]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, said = answer(body, self.headers["authorization"])
            if self.path != "/tokenize":
                status = 404
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Target(url=f"http://127.0.0.1:{server.server_port}/v1", model="stub")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("answer", [like_vllm, like_llama_cpp])
def test_a_server_counts_in_its_own_form(
    answer: Callable[[dict[str, object], str | None], Answer],
) -> None:
    with server_of(answer) as target:
        counter = ServerCounter(target, "secret")
        assert counter.counts(TEXTS) == LENGTHS
        assert counter.counts([]) == []
        assert counter.count("the") == 3


@pytest.mark.parametrize("answer", [without_route, like_no_counter])
def test_a_server_that_does_not_count_is_told_with_what_to_do(
    answer: Callable[[dict[str, object], str | None], Answer],
) -> None:
    with server_of(answer) as target, pytest.raises(CannotMeasure, match="--tokenizer FOLDER"):
        ServerCounter(target).counts(TEXTS)


def test_a_wrong_key_is_told() -> None:
    with server_of(like_vllm) as target, pytest.raises(CannotMeasure, match="--api-key"):
        ServerCounter(target, "wrong").count("the")


def test_a_server_that_is_not_there_is_told() -> None:
    with server_of(like_vllm) as target:
        pass
    with pytest.raises(CannotAsk, match="is a server running there"):
        ServerCounter(target).counts(TEXTS)


def test_a_folder_or_its_file_counts_without_special_tokens(tmp_path: Path) -> None:
    tokenizer = bytes_alone()
    tokenizer.add_special_tokens(["<bos>"])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    target = Target(url="http://nowhere", model="stub")
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        assert counter_of(str(place), target).counts(TEXTS) == LENGTHS


def test_the_count_is_that_of_the_tokenizer() -> None:
    tokenizer = embedded()
    texts = [f"{text} and more of it" * 3 for text in TEXTS]
    expected = [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    assert TokenizerCounter(tokenizer).counts(texts) == expected


def test_without_a_file_the_server_counts() -> None:
    with server_of(like_vllm) as target:
        assert counter_of(None, target, "secret").count("the") == 3


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_what_is_no_tokenizer_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(WrongOption, match="--tokenizer"):
        counter_of(str(tmp_path), Target(url="http://nowhere", model="stub"))
