"""Every field of a chat completion, as users of OpenAI's SDK send it, against a live server."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest

from engine.models.registry import resolve
from engine.text.tokenizer import Tokenizer
from tests.contract.conftest import metric, running_server
from tests.requirements import requirement

MODEL = "kvorum-mini"
SUM: list[Any] = [{"role": "user", "content": "What is 17 + 25?"}]
SAYINGS: list[Any] = [{"role": "user", "content": "Tell me something about 🌍 and wörds."}]


def resolve_tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(Path(resolve().path))


def whole(sdk: openai.OpenAI, **fields: Any) -> list[str]:
    answer = sdk.chat.completions.create(**{"model": MODEL, "messages": SAYINGS} | fields)
    return [choice.message.content or "" for choice in answer.choices]


def streamed(sdk: openai.OpenAI, **fields: Any) -> list[str]:
    texts = [""] * int(fields.get("n", 1))
    stream = sdk.chat.completions.create(
        **{"model": MODEL, "messages": SAYINGS, "stream": True} | fields
    )
    for chunk in stream:
        for choice in chunk.choices:
            piece = choice.delta.content or ""
            texts[choice.index] += piece
    return texts


@requirement("chat.request.n", "chat.stream.text")
@pytest.mark.parametrize("seed", range(4))
def test_deltas_joined_are_the_whole_text_for_any_draw(sdk: openai.OpenAI, seed: int) -> None:
    fields = {"seed": seed, "temperature": 2, "max_tokens": 60, "n": 3}
    texts = whole(sdk, **fields)
    assert streamed(sdk, **fields) == texts
    assert len(set(texts)) == 3
    assert whole(sdk, **{**fields, "seed": seed + 100}) != texts


def test_no_delta_splits_a_character(sdk: openai.OpenAI) -> None:
    """The bytes of two characters, in any order: what is no UTF-8 is U+FFFD, what is stays whole."""
    tokens = resolve_tokenizer().encode("🌍é")
    fields = {
        "seed": 7,
        "max_tokens": 200,
        "temperature": 2,
        "frequency_penalty": 2,
        "logit_bias": {str(token_id): 100 for token_id in tokens},
        "extra_body": {"ignore_eos": True},
    }
    (text,) = whole(sdk, **fields)
    assert "é" in text
    assert "\ufffd" in text
    assert streamed(sdk, **fields) == [text]


@requirement("chat.stream.helper")
def test_the_stream_helper_takes_several_choices(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(
        model=MODEL, messages=SUM, n=3, temperature=0, stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    usage = sdk.chat.completions.create(model=MODEL, messages=SUM, n=3, temperature=0).usage
    assert usage is not None
    assert final.usage is not None
    assert final.usage.total_tokens == usage.total_tokens
    assert [choice.index for choice in final.choices] == [0, 1, 2]
    assert all("42" in (choice.message.content or "") for choice in final.choices)


@requirement("chat.stream.logprobs")
async def test_the_async_client_streams_and_helps_too(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=SUM, n=2, temperature=0, logprobs=True, top_logprobs=2
        )
        async with client.chat.completions.stream(
            model=MODEL, messages=SUM, n=2, temperature=0, logprobs=True, top_logprobs=2
        ) as stream:
            final = await stream.get_final_completion()
    for one, other in zip(answer.choices, final.choices, strict=True):
        assert one.message.content == other.message.content
        assert one.logprobs is not None
        assert other.logprobs is not None
        assert one.logprobs.content == other.logprobs.content


@requirement("chat.answer.usage")
def test_the_prompt_is_counted_once_however_many_choices(sdk: openai.OpenAI) -> None:
    one = sdk.chat.completions.create(model=MODEL, messages=SUM, temperature=0).usage
    four = sdk.chat.completions.create(model=MODEL, messages=SUM, temperature=0, n=4).usage
    assert one is not None
    assert four is not None
    assert four.prompt_tokens == one.prompt_tokens
    assert four.completion_tokens == 4 * one.completion_tokens


@requirement("chat.request.cache_salt", "chat.answer.cached_tokens")
def test_cached_tokens_are_told(sdk: openai.OpenAI) -> None:
    question: list[Any] = [{"role": "user", "content": "What is 3 + 4? " * 20}]
    salt = {"cache_salt": f"of this test {id(sdk)}"}

    def cached(**extra: Any) -> int | None:
        answer = sdk.chat.completions.create(
            model=MODEL, messages=question, max_tokens=1, extra_body=extra
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens_details.cached_tokens

    assert cached(**salt) == 0
    assert (cached(**salt) or 0) > 100
    assert cached(cache_salt=f"another {id(sdk)}") == 0


@requirement("chat.request.logprobs", "chat.request.top_logprobs")
def test_log_probabilities_are_those_of_the_model(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model=MODEL, messages=SUM, temperature=0, logprobs=True, top_logprobs=20
    )
    choice = answer.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content
    said = b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content)
    assert said.decode() == choice.message.content
    for entry in choice.logprobs.content:
        assert len(entry.top_logprobs) == 20
        values = [top.logprob for top in entry.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert entry.logprob == values[0]
        assert sum(map(math.exp, values)) <= 1 + 1e-4


@requirement("chat.request.logit_bias")
def test_a_bias_forces_and_bans(sdk: openai.OpenAI) -> None:
    fields = {"messages": SUM, "temperature": 0, "max_tokens": 1}
    (first,) = whole(sdk, **fields)
    (first_id,) = resolve_tokenizer().encode(first)
    (other,) = whole(sdk, **fields, logit_bias={str(first_id): -100})
    assert other != first
    (other_id,) = resolve_tokenizer().encode(other)
    assert whole(sdk, **{**fields, "max_tokens": 3}, logit_bias={str(other_id): 100}) == [other * 3]


@requirement("chat.request.max_tokens", "chat.request.min_tokens", "chat.request.ignore_eos")
def test_tokens_at_least_and_at_most(sdk: openai.OpenAI) -> None:
    def count(**fields: Any) -> int:
        answer = sdk.chat.completions.create(model=MODEL, messages=SUM, temperature=0, **fields)
        assert answer.usage is not None
        return answer.usage.completion_tokens

    usual = count()
    assert count(max_completion_tokens=2) == 2
    assert count(extra_body={"min_tokens": usual + 7}, max_tokens=usual + 40) >= usual + 7
    assert count(extra_body={"ignore_eos": True}, max_tokens=usual + 20) == usual + 20


def test_repetition_is_punished(sdk: openai.OpenAI) -> None:
    fields = {"max_tokens": 60, "temperature": 0, "extra_body": {"ignore_eos": True}}
    (plain,) = whole(sdk, messages=SUM, **fields)
    for penalty in ("frequency_penalty", "presence_penalty"):
        (varied,) = whole(sdk, messages=SUM, **{penalty: 2}, **fields)
        assert len(set(varied)) > len(set(plain))


@requirement("chat.request.stop")
def test_a_stop_string_leaks_in_no_part_and_in_no_choice(sdk: openai.OpenAI) -> None:
    fields = {"messages": SUM, "temperature": 1.5, "seed": 3, "n": 4, "max_tokens": 40}
    texts = whole(sdk, **fields)
    stop = [texts[0][5:8], texts[1][2:4]]
    for found in (whole(sdk, stop=stop, **fields), streamed(sdk, stop=stop, **fields)):
        for text, full in zip(found, texts, strict=True):
            ends = [full.index(each) for each in stop if each in full]
            assert text == (full[: min(ends)] if ends else full)


def test_control_tokens_that_a_user_types_are_plain_text(sdk: openai.OpenAI) -> None:
    def count(text: str) -> int:
        answer = sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=1
        )
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert count("<|im_end|>") > count("a") + 3


def test_what_has_no_effect_is_told_in_a_header(url: str) -> None:
    body = {"model": MODEL, "messages": SUM, "max_tokens": 1, "reasoning_effort": "low"}
    for stream in (False, True):
        answer = httpx.post(f"{url}/v1/chat/completions", json={**body, "stream": stream})
        assert answer.status_code == 200
        assert answer.headers["warning"] == '299 kvorum "without effect: reasoning_effort"'
    del body["reasoning_effort"]
    assert "warning" not in httpx.post(f"{url}/v1/chat/completions", json=body).headers


def test_a_lenient_server_takes_unknown_fields_and_names_them() -> None:
    body = {"model": MODEL, "messages": SUM, "max_tokens": 1, "num_ctx": 5, "sträng\r\n": 1}
    with running_server("--input-validation", "lenient", "--log-level", "error") as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.headers["warning"] == '299 kvorum "without effect: num_ctx, str?ng??"'


async def test_mixed_requests_at_once_get_what_each_gets_alone(url: str) -> None:
    mixes: list[dict[str, Any]] = [
        {
            "messages": [{"role": "user", "content": f"What is {seed} + {seed * 3}?"}],
            "seed": seed,
            "temperature": (0, 0.7, 1.3, 2)[seed % 4],
            "top_p": (1, 0.9)[seed % 2],
            "n": 1 + seed % 3,
            "presence_penalty": (0, 1.5)[seed // 2 % 2],
            "logprobs": bool(seed % 2),
            "stop": [["7"], []][seed // 4 % 2],
            "max_tokens": 5 + seed,
            "logit_bias": [{}, {"40": 5}][seed // 8 % 2],
        }
        for seed in range(32)
    ]
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:

        async def ask(fields: dict[str, Any]) -> Any:
            answer = await client.chat.completions.create(model=MODEL, **fields)
            return [(c.message.content, c.finish_reason) for c in answer.choices]

        together: dict[int, Any] = {}

        async def note(index: int) -> None:
            together[index] = await ask(mixes[index])

        async with anyio.create_task_group() as tasks:
            for index in range(32):
                tasks.start_soon(note, index)
        alone = {index: await ask(mixes[index]) for index in range(32)}
    assert together == alone
    with anyio.fail_after(10):
        while metric(url, "kvorum_kv_blocks_used") or metric(url, "kvorum_requests_running"):
            await anyio.sleep(0.02)  # another process: there is no event to wait for


async def test_a_short_request_does_not_wait_for_a_long_one(url: str) -> None:
    ends: list[str] = []
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:

        async def ask(name: str, max_tokens: int) -> None:
            await client.chat.completions.create(
                model=MODEL, messages=SUM, max_tokens=max_tokens, extra_body={"ignore_eos": True}
            )
            ends.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "long", 400)
            with anyio.fail_after(10):
                while not metric(url, "kvorum_requests_running"):
                    await anyio.sleep(0.01)
            tasks.start_soon(ask, "short", 2)
    assert ends == ["short", "long"]
