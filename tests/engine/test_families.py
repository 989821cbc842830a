"""Greedy tokens of unmodified Hugging Face families, against plain transformers generate."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config import CacheConfig, EngineConfig, SchedulerConfig
from engine.errors import EngineUnavailable
from engine.inline import open_inline
from engine.models.card import read_card
from engine.process import open_process
from engine.protocol import SamplingParams, Submit, Tokens, pack_token_ids
from tests.tiny_model import (
    EOS,
    FAMILIES,
    UNSERVABLE,
    greedy_by_transformers,
    save_tiny_model,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from engine.client import EngineClient

    OpenEngine = Callable[[EngineConfig], AbstractAsyncContextManager[EngineClient]]

MAX_TOKENS = 24


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def generate(
    client: EngineClient, name: str, prompt: list[int], stop: tuple[int, ...] = (), **params: float
) -> list[int]:
    fields = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0, **params}
    message = Submit(
        name,
        pack_token_ids(prompt),
        SamplingParams(MAX_TOKENS, stop_token_ids=stop, **fields),  # type: ignore[arg-type]
        time.monotonic_ns(),
    )
    tokens: list[int] = []
    with client.generate(message) as conversation:
        while not conversation.is_over:
            for event in await conversation.receive():
                tokens += event.token_ids if isinstance(event, Tokens) else ()
    return tokens


def tight(folder: Path, num_blocks: int = 14) -> EngineConfig:
    """Blocks so few that a crowd is preempted, a budget so small that prompts come in chunks."""
    return EngineConfig(
        card=read_card(folder, "tiny"),
        device="cpu",
        dtype="float32",
        max_model_len=96,
        num_threads=1,
        cache=CacheConfig(block_size=8, num_blocks=num_blocks),
        scheduler=SchedulerConfig(max_batch_tokens=20),
    )


@pytest.mark.parametrize(
    ("family", "open_engine"),
    [*((family, open_inline) for family in FAMILIES), ("Qwen3", open_process)],
)
async def test_a_crowd_gets_what_plain_transformers_generate_gives_each_alone(
    family: str, open_engine: OpenEngine, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path, family)
    rng = random.Random(1)
    prompts = [[rng.randrange(256) for _ in range(n)] for n in (1, 3, 17, 40, 60, 5)]
    answers: dict[int, list[int]] = {}
    async with open_engine(tight(folder)) as client:
        await client.wait_ready(60)

        async def ask(index: int) -> None:
            answers[index] = await generate(client, str(index), prompts[index], stop=(EOS,))

        async with anyio.create_task_group() as tasks:
            for index in range(len(prompts)):
                tasks.start_soon(ask, index)
        # A window reserves what it needs, so that it never runs dry: nobody has to yield.
        assert client.stats.num_preemptions > 0 or family in ("Mistral", "Phi3")
        assert client.stats.num_blocks_used == 0
    for index, prompt in enumerate(prompts):
        expected = greedy_by_transformers(folder, prompt, MAX_TOKENS)
        assert answers[index] == [token for token in expected if token != EOS]


async def test_a_seed_draws_the_same_tokens_alone_and_in_a_crowd(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, "Qwen3")
    params = {"temperature": 1.2, "top_p": 0.9, "top_k": 40}
    crowd: dict[int, list[int]] = {}
    async with open_inline(tight(folder)) as client:
        await client.wait_ready(60)
        alone = [await generate(client, f"a{i}", [i, 7], seed=i, **params) for i in range(5)]

        async def ask(index: int) -> None:
            crowd[index] = await generate(client, f"b{index}", [index, 7], seed=index, **params)

        async with anyio.create_task_group() as tasks:
            for index in range(5):
                tasks.start_soon(ask, index)
        other = await generate(client, "c", [0, 7], seed=99, **params)
    assert [crowd[i] for i in range(5)] == alone
    assert other != alone[0]


@pytest.mark.parametrize("family", UNSERVABLE)
async def test_a_family_that_would_answer_wrong_is_refused_at_the_start(
    family: str, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path, family)
    card = read_card(save_tiny_model(tmp_path / "card", "Llama"), "tiny")
    config = EngineConfig(card=msgspec.structs.replace(card, path=str(folder)), device="cpu")
    async with open_inline(config) as client:
        with pytest.raises(EngineUnavailable, match=r"not supported.*Supported: .*docs/models\.md"):
            await client.wait_ready(60)


async def test_a_family_that_is_not_tested_is_served_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny_model(tmp_path, "Olmo")
    async with open_inline(tight(folder)) as client:
        await client.wait_ready(60)
        answer = await generate(client, "a", [1, 2, 3])
    assert "tiny is a olmo, a family that Kvorum is not tested with" in caplog.text
    assert answer == greedy_by_transformers(folder, [1, 2, 3], MAX_TOKENS)


async def test_a_context_that_does_not_fit_the_cache_is_refused_with_advice(tmp_path: Path) -> None:
    config = tight(save_tiny_model(tmp_path, "Llama"), num_blocks=4)
    async with open_inline(config) as client:
        with pytest.raises(EngineUnavailable, match="--max-model-len"):
            await client.wait_ready(60)


async def test_a_cache_larger_than_the_memory_is_refused_with_advice(tmp_path: Path) -> None:
    config = tight(save_tiny_model(tmp_path, "Llama"), num_blocks=10**8)
    async with open_inline(config) as client:
        with pytest.raises(EngineUnavailable, match="--num-blocks"):
            await client.wait_ready(60)


async def test_a_model_that_would_need_its_own_code_is_refused(tmp_path: Path) -> None:
    card = read_card(save_tiny_model(tmp_path, "Llama"), "tiny")
    config = EngineConfig(card=msgspec.structs.replace(card, architecture="MyForCausalLM"))
    async with open_inline(config) as client:
        with pytest.raises(EngineUnavailable, match="never run"):
            await client.wait_ready(60)


@pytest.mark.parametrize("fault", ["a weight is missing", "config.json has more layers"])
async def test_weights_that_are_not_whole_are_refused_and_not_made_up(
    fault: str, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path, "Llama")
    if fault == "a weight is missing":
        weights = load_file(folder / "model.safetensors")
        del weights["model.layers.1.mlp.up_proj.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        config_file = folder / "config.json"
        config = json.loads(config_file.read_text())
        config_file.write_text(json.dumps({**config, "num_hidden_layers": 3}))
    async with open_inline(tight(folder)) as client:
        with pytest.raises(EngineUnavailable, match="not whole"):
            await client.wait_ready(60)


@pytest.mark.parametrize(
    "change", [{"num_attention_heads": 3}, {"num_key_value_heads": 0}, {"hidden_size": "wide"}]
)
async def test_a_config_that_makes_no_sense_is_one_clear_sentence(
    change: dict[str, object], tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path, "Llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    async with open_inline(tight(folder)) as client:
        with pytest.raises(EngineUnavailable, match="cannot be loaded from"):
            await client.wait_ready(60)


async def test_a_request_of_nan_fails_alone_in_a_crowd(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, "Llama")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][5] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    prompts = {"bad": [5, 1, 2], "short": [1, 2], "long": list(range(10, 40))}
    answers: dict[str, list[int]] = {}
    async with open_inline(tight(folder)) as client:
        await client.wait_ready(60)

        async def ask(name: str) -> None:
            answers[name] = await generate(client, name, prompts[name])

        async with anyio.create_task_group() as tasks:
            for name in prompts:
                tasks.start_soon(ask, name)
        again = await generate(client, "again", prompts["long"])
    assert answers["bad"] == []
    for name in ("short", "long"):
        assert answers[name] == greedy_by_transformers(folder, prompts[name], MAX_TOKENS)
    assert again == answers["long"]
