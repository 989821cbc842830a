"""Models that come and go, with real weights: their memory comes back."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import pytest
import torch
import transformers

from engine.models.registry import resolve
from tests.contract.conftest import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 130 MB in float32, under the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("large")
    card = resolve()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (path := Path(card.path) / name).exists():
            shutil.copy(path, folder)
    config = transformers.LlamaConfig(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=4,
        num_attention_heads=12,
        num_key_value_heads=4,
        vocab_size=card.vocab_size,
        max_position_embeddings=2048,
        eos_token_id=list(card.eos_token_ids),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return folder


@contextmanager
def serving(large: Path) -> Iterator[str]:
    with running_server("--log-level", "error", "--more-models", f"large={large}") as url:
        yield url


def engine_bytes() -> int:
    """Resident memory of the engine process that this test has started last."""
    found: list[tuple[int, int]] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            of_parent = Path(f"/proc/{stat[1]}/stat").read_text().rpartition(")")[2].split()
        except (OSError, IndexError):
            continue
        if b"engine.child" in arguments and int(of_parent[1]) == os.getpid():
            started, num_pages = int(stat[19]), int(stat[21])
            found.append((started, num_pages * os.sysconf("SC_PAGE_SIZE")))
    return max(found)[1]


def post(url: str, path: str) -> dict[str, object]:
    answer = httpx.post(f"{url}/v1/models/{path}", timeout=60)
    assert answer.status_code == 200, answer.text
    loaded: dict[str, object] = answer.json()
    return loaded


def test_an_unloaded_model_gives_its_memory_back_and_can_come_again(large: Path) -> None:
    with serving(large) as url:
        before = engine_bytes()
        for _ in range(3):
            assert post(url, "large/load")["state"] == "loaded"
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
                client.chat.completions.create(
                    model="large", messages=[{"role": "user", "content": "Hi"}], max_tokens=4
                )
            assert engine_bytes() - before > 80 * MIB
            assert post(url, "large/unload")["state"] == "unloaded"
            assert engine_bytes() - before < 40 * MIB


def test_an_unload_ends_the_answers_that_run_and_gives_their_memory_back(large: Path) -> None:
    with serving(large) as url:
        before = engine_bytes()
        body = {
            "model": "large",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "max_tokens": 1500,
            "ignore_eos": True,
        }
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: ")
            post(url, "large/unload")
            events = [line.removeprefix("data: ") for line in lines if line]
        assert json.loads(events[-1])["error"]["code"] == "model_not_loaded"
        assert engine_bytes() - before < 40 * MIB
