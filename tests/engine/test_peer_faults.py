"""What a peer's engine gets wrong, each seen there once: on the real engine with tiny models.

Those that a client can see over HTTP are in tests/contract/test_peer_faults.py.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

import anyio
import pytest
import torch

from engine.config import CacheConfig, EngineConfig
from engine.inline import open_inline
from engine.models.card import read_card
from engine.models.errors import UnsupportedModel
from engine.protocol import Finished, SamplingParams, Submit, Tokens, pack_token_ids
from tests.tiny_model import save_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from engine.client import EngineClient


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def config_of(folder: Path, name: str = "tiny") -> EngineConfig:
    return EngineConfig(
        card=read_card(folder, name), device="cpu", num_threads=1, cache=CacheConfig(num_blocks=64)
    )


async def tokens_of(
    client: EngineClient, name: str, model: str = "", **params: object
) -> list[int]:
    fields = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0, **params}
    sampling = SamplingParams(8, **fields)  # type: ignore[arg-type]
    submit = Submit(name, pack_token_ids([5, 6, 7]), sampling, time.monotonic_ns(), model=model)
    tokens: list[int] = []
    with client.generate(submit) as conversation:
        while not conversation.is_over:
            for event in await conversation.receive():
                tokens += event.token_ids if isinstance(event, Tokens) else ()
                last = event
    assert isinstance(last, Finished)
    return tokens


async def test_a_logit_bias_is_its_own_requests_whoever_came_first(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, "Llama")
    answers: dict[int, list[int]] = {}
    async with open_inline(config_of(folder)) as client:
        await client.wait_ready(60)
        plain = await tokens_of(client, "plain")

        async def ask(index: int, **params: object) -> None:
            answers[index] = await tokens_of(client, str(index), **params)

        async with anyio.create_task_group() as tasks:
            for index in range(6):
                tasks.start_soon(ask, index)
                bias = {"logit_bias": ((100 + index, 1000.0),)}
                tasks.start_soon(lambda i=index, b=bias: ask(10 + i, **b))
    assert all(answers[index] == plain for index in range(6))
    assert all(answers[10 + index] == [100 + index] * 8 for index in range(6))


async def test_a_request_for_one_model_kills_none_of_another(tmp_path: Path) -> None:
    first = save_tiny_model(tmp_path / "a", "Llama")
    second = save_tiny_model(tmp_path / "b", "Qwen3")
    answers: dict[str, list[int]] = {}
    async with open_inline(config_of(first, "first")) as client:
        await client.load_model(config_of(second, "second"))
        alone = {m: await tokens_of(client, f"alone {m}", m) for m in ("first", "second")}

        async def ask(name: str, model: str) -> None:
            answers[name] = await tokens_of(client, name, model)

        async with anyio.create_task_group() as tasks:
            for index in range(4):
                for model in alone:
                    tasks.start_soon(ask, f"{model} {index}", model)
    assert all(tokens == alone[name.split()[0]] for name, tokens in answers.items())


async def test_weights_leave_the_memory_with_their_model(tmp_path: Path) -> None:
    first = save_tiny_model(tmp_path / "a", "Llama")
    big = save_tiny_model(tmp_path / "b", "Llama", hidden_size=512, intermediate_size=4096)

    def num_tensor_bytes() -> int:
        gc.collect()
        tensors = [t for t in gc.get_objects() if issubclass(type(t), torch.Tensor)]
        return sum(t.numel() * t.element_size() for t in tensors)

    async with open_inline(config_of(first, "first")) as client:
        await client.wait_ready(60)
        before = num_tensor_bytes()
        ready = await client.load_model(config_of(big, "big"))
        await tokens_of(client, "a", "big")
        assert num_tensor_bytes() - before >= ready.weight_bytes > 40_000_000
        await client.unload_model("big")
        assert num_tensor_bytes() - before < 1_000_000


def test_a_hybrid_model_is_refused_at_load_and_not_at_a_request(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, "Lfm2", full_attn_idxs=[1])
    with pytest.raises(UnsupportedModel, match="conv"):
        read_card(folder, "hybrid")


async def test_the_cache_of_a_small_model_is_modest(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, "Llama")
    config = EngineConfig(card=read_card(folder, "tiny"), device="cpu", num_threads=1)
    async with open_inline(config) as client:
        ready = await client.wait_ready(60)
    assert ready.kv_cache_bytes <= 1 << 28
