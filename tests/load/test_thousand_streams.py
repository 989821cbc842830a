"""A thousand streams of OpenAI's SDK over HTTP/2, on few and on many connections.

make test ARGS="-m load tests/load"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import openai
import pytest

from tests.contract.conftest import metric, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_STREAMS = 1000
NUM_QUESTIONS = 20

pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server("--log-level", "error") as address:
        yield address


def question(index: int) -> str:
    return f"What is {11 + index % NUM_QUESTIONS} + 25?"


async def whole_answers(url: str) -> dict[str, str]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answers: dict[str, str] = {}
        for index in range(NUM_QUESTIONS):
            answer = await client.chat.completions.create(
                model="kvorum-mini",
                messages=[{"role": "user", "content": question(index)}],
                temperature=0,
                max_tokens=30,
            )
            answers[question(index)] = answer.choices[0].message.content or ""
        return answers


@pytest.mark.parametrize("num_connections", [1, 10, 100])
async def test_a_thousand_streams_are_complete_and_equal_to_the_whole_answers(
    url: str, num_connections: int
) -> None:
    expected = await whole_answers(url)
    texts: dict[int, str] = {}

    async def stream(client: openai.AsyncOpenAI, index: int) -> None:
        chunks = await client.chat.completions.create(
            model="kvorum-mini",
            messages=[{"role": "user", "content": question(index)}],
            temperature=0,
            max_tokens=30,
            stream=True,
        )
        texts[index] = "".join(
            [c.choices[0].delta.content or "" async for c in chunks if c.choices]
        )

    clients = [
        openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key="none",
            max_retries=0,
            http_client=httpx.AsyncClient(http1=False, http2=True, timeout=300),
        )
        for _ in range(num_connections)
    ]
    async with anyio.create_task_group() as tasks:
        for index in range(NUM_STREAMS):
            tasks.start_soon(stream, clients[index % num_connections], index)
    for client in clients:
        await client.close()
    assert len(texts) == NUM_STREAMS
    assert all(text == expected[question(index)] for index, text in texts.items())
    assert metric(url, "kvorum_requests_running") == metric(url, "kvorum_kv_blocks_used") == 0
