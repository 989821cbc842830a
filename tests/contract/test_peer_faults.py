"""What a peer's server gets wrong, each seen there once: over HTTP, with the real SDK."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import openai
import pytest

from tests.contract.conftest import metric, running_server
from tests.requirements import requirement
from tests.tiny_model import save_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTEXT = 512


def ask(client: openai.OpenAI, text: str, **params: object) -> str:
    answer = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": text}],
        **{"max_tokens": 12, "temperature": 0, **params},  # type: ignore[call-overload]
    )
    return answer.choices[0].message.content or ""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A random model that never stops by itself, over a cache of one context."""
    folder: Path = tmp_path_factory.mktemp("model") / "tiny"
    save_tiny_model(folder, "Llama", eos_token_id=None)
    arguments = ("--num-blocks", str(CONTEXT // 16), "--log-level", "error")
    with (
        running_server(str(folder), *arguments) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        yield client


def url_of(client: openai.OpenAI) -> str:
    return str(client.base_url).removesuffix("/v1/")


@requirement("chat.request.temperature")
def test_the_settings_of_the_first_request_do_not_hold_for_later_ones(tiny: openai.OpenAI) -> None:
    greedy = ask(tiny, "hello")
    with ThreadPoolExecutor() as pool:
        hot = [pool.submit(ask, tiny, "hello", temperature=1.9, seed=s) for s in range(6)]
        cold = [pool.submit(ask, tiny, "hello") for _ in range(6)]
        assert {each.result() for each in cold} == {greedy}
        assert len({each.result() for each in hot}) > 1


@requirement("chat.request.seed")
def test_a_seed_gives_one_text_alone_and_in_parallel(tiny: openai.OpenAI) -> None:
    alone = ask(tiny, "hello", temperature=1.5, seed=7)
    with ThreadPoolExecutor() as pool:
        crowd = [pool.submit(ask, tiny, "hello", temperature=1.5, seed=7) for _ in range(6)]
        assert {each.result() for each in crowd} == {alone}


@requirement("chat.answer.cached_tokens")
def test_a_long_prompt_skips_its_prefill_the_second_time(client: openai.OpenAI) -> None:
    text = "The cat sat on the mat and looked at the moon. " * 40
    usages = [
        client.chat.completions.create(
            model="kvorum-mini", messages=[{"role": "user", "content": text}], max_tokens=1
        ).usage
        for _ in range(2)
    ]
    first, second = (usage for usage in usages if usage is not None)
    assert first.prompt_tokens == second.prompt_tokens > 1000
    assert second.prompt_tokens_details is not None
    assert second.prompt_tokens - (second.prompt_tokens_details.cached_tokens or 0) <= 16


def test_a_generation_that_fills_the_cache_ends_and_the_server_goes_on(tiny: openai.OpenAI) -> None:
    with ThreadPoolExecutor() as pool:
        long = [pool.submit(ask, tiny, f"{i} go on", max_tokens=400) for i in range(4)]
        assert all(each.result() for each in long)
    assert ask(tiny, "hello")


def test_a_prompt_longer_than_the_context_is_refused_and_the_server_goes_on(
    tiny: openai.OpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(tiny, "x" * 3 * CONTEXT)
    assert caught.value.code == "context_length_exceeded"
    assert ask(tiny, "hello")


def test_two_requests_with_one_request_id_are_not_mixed_up(tiny: openai.OpenAI) -> None:
    expected = {text: ask(tiny, text) for text in ("one", "two", "three")}
    same = {"x-request-id": "the same"}
    with ThreadPoolExecutor() as pool:
        answers = {text: pool.submit(ask, tiny, text, extra_headers=same) for text in expected}
        assert {text: each.result() for text, each in answers.items()} == expected


@requirement("errors.disconnect")
def test_a_client_that_leaves_ends_a_whole_answer_too(tiny: openai.OpenAI) -> None:
    url = url_of(tiny)
    body = {
        "model": tiny.models.list().data[0].id,
        "messages": [{"role": "user", "content": "never read"}],
        "max_tokens": 450,
    }
    before = metric(url, "kvorum_generated_tokens_total")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.05)
    deadline = time.monotonic() + 5
    while metric(url, "kvorum_requests_running"):
        assert time.monotonic() < deadline, "the answer goes on without a reader"
    assert metric(url, "kvorum_generated_tokens_total") - before < 450
    assert metric(url, "kvorum_kv_blocks_used") == 0


@requirement("chat.stream.text")
def test_streamed_text_is_the_whole_text_also_where_characters_break(tiny: openai.OpenAI) -> None:
    for seed in range(8):
        params = {"temperature": 1.5, "seed": seed, "max_tokens": 60}
        whole = ask(tiny, "bytes", **params)
        chunks = tiny.chat.completions.create(
            model=tiny.models.list().data[0].id,
            messages=[{"role": "user", "content": "bytes"}],
            stream=True,
            **params,  # type: ignore[call-overload]
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole


def test_models_are_listed_without_a_network(tiny: openai.OpenAI) -> None:
    assert len(tiny.models.list().data) == 1
