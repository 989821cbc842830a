"""Three models in room for two, and fifty clients that do not care.

make test ARGS="-m load tests/load/test_models_under_budget.py"
"""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import anyio
import httpx
import openai
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.models.registry import resolve
from tests.contract.conftest import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]

NUM_CLIENTS = 50
RUN_S = 120
NAMES = ("kvorum-mini", "b", "c")
QUESTIONS = [f"What is {n} + {n + 3}?" for n in range(12, 20)]
BUDGET_BYTES = 545 << 20
"""A model takes 269 MiB: 13 of weights and 256 of cache."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def other_weights(folder: Path, seed: int) -> Path:
    """The embedded model, with a little noise: it answers otherwise, always in the same way."""
    shutil.copytree(resolve().path, folder)
    (path,) = folder.glob("*.safetensors")
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: tensor + 0.9 * tensor.float().std().to(tensor.dtype)
        * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        if tensor.ndim == 2
        else tensor
        for name, tensor in load_file(path).items()
    }  # fmt: skip
    save_file(weights, path, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("models")
    more = " ".join(f"{name}={other_weights(root / name, ord(name))}" for name in NAMES[1:])
    flags = ("--more-models", more, "--model-memory-gib", str(BUDGET_BYTES / 2**30))
    with running_server("--log-level", "error", *flags) as address:
        yield address


async def ask(client: openai.AsyncOpenAI, model: str, question: str) -> str:
    answer = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=12,
    )
    assert answer.model == model
    return answer.choices[0].message.content or ""


class Watch:
    """What is looked at all the time."""

    def __init__(self) -> None:
        self.most_bytes = 0
        self.num_loads = 0
        self._states: dict[str, str] = {}

    async def run(self, url: str) -> None:
        async with httpx.AsyncClient() as http:
            while True:
                models = (await http.get(f"{url}/v1/models")).json()["data"]
                held = sum(model["memory_bytes"] for model in models)
                self.most_bytes = max(self.most_bytes, held)
                states = {model["id"]: model["state"] for model in models}
                self.num_loads += sum(
                    state == "loaded" and self._states.get(name) != "loaded"
                    for name, state in states.items()
                )
                self._states = states
                await anyio.sleep(0.05)


async def test_every_answer_is_the_right_models_and_memory_stays_within_the_budget(
    url: str,
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=8) as client:
        expected = {
            (model, question): await ask(client, model, question)
            for model in NAMES
            for question in QUESTIONS
        }
        assert len({tuple(expected[m, q] for q in QUESTIONS) for m in NAMES}) == len(NAMES)
        watch, num_answers, num_left, num_late = Watch(), 0, 0, 0

        async def visit(seed: int) -> None:
            nonlocal num_answers, num_left, num_late
            rng = random.Random(seed)
            while True:
                key = rng.choice(NAMES), rng.choice(QUESTIONS)
                hang_up_s = rng.choice([None, None, 0.01, 0.2])
                try:
                    with anyio.move_on_after(hang_up_s) as scope:
                        assert await ask(client, *key) == expected[key]
                        num_answers += 1
                except openai.InternalServerError as error:
                    if error.code not in ("model_loading", "model_not_loaded"):
                        raise
                    num_late += 1
                num_left += scope.cancelled_caught

        with anyio.move_on_after(RUN_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.run, url)
                for seed in range(NUM_CLIENTS):
                    tasks.start_soon(visit, seed)
        print(f"\n{num_answers} answers, {num_left} hung up, {num_late} too late, "
              f"{watch.num_loads} loads, most {watch.most_bytes / 2**20:.0f} MiB")  # fmt: skip
        assert num_answers > 200
        assert num_late < num_answers / 20
        assert watch.num_loads > 6
        assert watch.most_bytes <= BUDGET_BYTES
        for model in NAMES:
            assert await ask(client, model, QUESTIONS[0]) == expected[model, QUESTIONS[0]]
