"""Legacy completions against a live server: OpenAI's SDK, plain transformers, lm-evaluation-harness."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import torch
import transformers

from engine.models.registry import resolve
from tests.contract.conftest import metric
from tests.requirements import requirement

if TYPE_CHECKING:
    import openai

MODEL = "kvorum-mini"
SUM = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"
FACT = "<|im_start|>user\nMira has a dog. What does Mira have?<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = [SUM, FACT, "Once upon a time", "Größe, 🌍 and", "a"]
TOLERANCE = 1e-4

RECORDED = Path(__file__).parents[1] / "data" / "harness" / "requests.jsonl"
REQUESTS = [json.loads(line) for line in RECORDED.read_text().splitlines()]
SCORED = [request for request in REQUESTS if request["body"].get("echo")]
CONTINUED = [request for request in REQUESTS if not request["body"].get("echo")]


@cache
def reference() -> tuple[Any, Any]:
    """Tokenizer and model in plain transformers, in float32."""
    folder = resolve().path
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return transformers.AutoTokenizer.from_pretrained(folder), model.eval()


def ids_of(prompt: str | list[int]) -> list[int]:
    if isinstance(prompt, list):
        return prompt
    found: list[int] = reference()[0](prompt, add_special_tokens=False).input_ids
    return found


def continued(prompt: str | list[int], max_tokens: int) -> str:
    """What greedy `generate` adds to the prompt."""
    tokenizer, model = reference()
    ids = torch.tensor([ids_of(prompt)])
    with torch.no_grad():
        said = model.generate(ids, do_sample=False, max_new_tokens=max_tokens)
    text: str = tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
    return text


def scores_TV(ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(reference()[1](torch.tensor([ids])).logits[0], dim=-1)


def joined(chunks: list[Any]) -> list[dict[str, Any]]:
    """The choices of a stream, put together as those of a whole answer are."""
    found: dict[int, dict[str, Any]] = {}
    for piece in itertools.chain.from_iterable(chunk.choices for chunk in chunks):
        choice = found.setdefault(piece.index, {"text": "", "logprobs": None})
        choice["text"] += piece.text
        choice["finish_reason"] = piece.finish_reason
        if piece.logprobs is not None:
            choice["logprobs"] = choice["logprobs"] or {}
            for name, values in piece.logprobs.model_dump().items():
                choice["logprobs"].setdefault(name, []).extend(values)
    return [choice for _, choice in sorted(found.items())]


def as_dict(choice: Any) -> dict[str, Any]:
    logprobs = choice.logprobs.model_dump() if choice.logprobs is not None else None
    return {
        "text": choice.text,
        "logprobs": logprobs if logprobs and logprobs["tokens"] else None,
        "finish_reason": choice.finish_reason,
    }


@requirement("completions.sampling", "completions.text")
def test_a_text_is_gone_on_with_as_transformers_does(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(model=MODEL, prompt=PROMPTS, temperature=0, max_tokens=24)
    assert [choice.index for choice in answer.choices] == list(range(len(PROMPTS)))
    for prompt, choice in zip(PROMPTS, answer.choices, strict=True):
        assert choice.text == continued(prompt, 24)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(len(ids_of(prompt)) for prompt in PROMPTS)


@pytest.mark.parametrize("seed", range(6))
@requirement("completions.stream", "completions.text", "completions.order")
def test_a_stream_adds_up_to_the_whole_answer(sdk: openai.OpenAI, seed: int) -> None:
    fields: dict[str, Any] = {
        "model": MODEL,
        "prompt": [PROMPTS[seed % 5], PROMPTS[(seed + 2) % 5]] if seed % 3 else PROMPTS[seed % 5],
        "n": 1 + seed % 3,
        "echo": seed % 2 == 0,
        "logprobs": (None, 0, 2, 5)[seed % 4],
        "max_tokens": (12, 1, 40)[seed % 3],
        "temperature": 1.3,
        "seed": seed,
        "stop": [["e"], None][seed % 2],
    }
    whole = sdk.completions.create(**fields)
    *chunks, last = sdk.completions.create(
        **fields, stream=True, stream_options={"include_usage": True}
    )
    found = joined(chunks)
    assert len(found) == len(whole.choices)
    for streamed, choice in zip(found, map(as_dict, whole.choices), strict=True):
        assert_alike(streamed, choice)
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens


def assert_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Scores differ in the last digits with what else was in the batch."""
    assert {**one, "logprobs": None} == {**other, "logprobs": None}
    first, second = one["logprobs"] or {}, other["logprobs"] or {}
    assert first.get("tokens") == second.get("tokens")
    assert first.get("text_offset") == second.get("text_offset")
    assert first.get("token_logprobs") == pytest.approx(second.get("token_logprobs"), abs=TOLERANCE)


@requirement("completions.echo", "completions.logprobs", "completions.harness")
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_scores_of_prompt_and_answer_are_those_of_transformers(
    client: openai.OpenAI, prompt: str, max_tokens: int
) -> None:
    (choice,) = client.completions.create(
        model=MODEL, prompt=prompt, temperature=0, max_tokens=max_tokens, echo=True, logprobs=5
    ).choices
    tokenizer, _ = reference()
    told: Any = choice.logprobs
    ids = ids_of(prompt) + ids_of(choice.text.removeprefix(prompt))
    expected = scores_TV(ids)
    assert told.token_logprobs[0] is None
    assert told.top_logprobs[0] is None
    for at, token_id in enumerate(ids[1:], 1):
        assert told.token_logprobs[at] == pytest.approx(
            float(expected[at - 1, token_id]), abs=TOLERANCE
        )
        assert told.tokens[at] == tokenizer.decode([token_id])
        likeliest = max(told.top_logprobs[at].values())
        assert likeliest == pytest.approx(float(expected[at - 1].max()), abs=TOLERANCE)
        assert told.tokens[at] in told.top_logprobs[at]
    assert choice.text.startswith(prompt)


@requirement("completions.prompt")
def test_ids_of_a_text_are_gone_on_with_as_the_text_is(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": MODEL, "temperature": 0, "echo": True, "max_tokens": 20}
    texts = client.completions.create(prompt=PROMPTS, **fields)
    ids = client.completions.create(prompt=[ids_of(prompt) for prompt in PROMPTS], **fields)
    alone = client.completions.create(prompt=ids_of(SUM), **fields)
    assert [c.text for c in ids.choices] == [c.text for c in texts.choices]
    assert alone.choices[0].text == texts.choices[0].text


@requirement("completions.structure")
def test_an_answer_has_the_form_that_is_asked_for(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt=[FACT, "Yes or no?"], extra_body={"guided_choice": ["yes", "no"]}
    )
    assert {choice.text for choice in answer.choices} <= {"yes", "no"}
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}


def test_64_prompts_get_what_each_gets_alone(url: str, client: openai.OpenAI) -> None:
    prompts = [f"What is {number} + 3? Answer:" for number in range(64)]
    fields: dict[str, Any] = {"model": MODEL, "seed": 5, "n": 2, "max_tokens": 6}
    answer = client.completions.create(prompt=prompts, **fields)
    for number in (0, 17, 63):
        alone = client.completions.create(prompt=prompts[number], **fields)
        together = answer.choices[2 * number : 2 * number + 2]
        assert [choice.text for choice in alone.choices] == [choice.text for choice in together]
    assert metric(url, "kvorum_requests_running") == 0


@requirement("completions.harness", "completions.stop_token_score")
@pytest.mark.parametrize("request_", SCORED, ids=[request["what"] for request in SCORED])
def test_the_harness_reads_the_log_likelihoods_of_transformers(
    url: str, request_: dict[str, Any]
) -> None:
    """It leaves out the last score of a choice, as that of the one new token: there must be one."""
    body = request_["body"]
    answer = httpx.post(f"{url}/v1/completions", json=body, headers=request_["headers"]).json()
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
    for prompt, choice in zip(prompts, answer["choices"], strict=True):
        ids = ids_of(prompt)
        expected = scores_TV(ids)
        told = choice["logprobs"]["token_logprobs"][1:-1]
        likeliest = [max(top.values()) for top in choice["logprobs"]["top_logprobs"][1:-1]]
        assert told == pytest.approx(
            [float(expected[at - 1, ids[at]]) for at in range(1, len(ids))], abs=TOLERANCE
        )
        is_greedy = [score == best for score, best in zip(told, likeliest, strict=True)]
        assert is_greedy == [int(expected[at - 1].argmax()) == ids[at] for at in range(1, len(ids))]


@requirement("completions.harness")
@pytest.mark.parametrize("request_", CONTINUED, ids=[request["what"] for request in CONTINUED])
def test_the_harness_reads_the_texts_of_transformers(url: str, request_: dict[str, Any]) -> None:
    body = request_["body"]
    answer = httpx.post(f"{url}/v1/completions", json=body, headers=request_["headers"]).json()
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
    for prompt, choice in zip(prompts, answer["choices"], strict=True):
        assert choice["text"] == continued(prompt, body["max_tokens"]).split("\n\n")[0]


@requirement("tokenize.prompt", "tokenize.detokenize")
def test_tokens_are_those_that_a_request_is_charged_for(url: str, client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "What is 17 + 25?"}]
    usage = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=1).usage
    found = httpx.post(f"{url}/tokenize", json={"messages": messages}).json()
    assert usage is not None
    assert usage.prompt_tokens == found["count"]
    text = httpx.post(f"{url}/detokenize", json={"tokens": found["tokens"]}).json()["prompt"]
    assert text.endswith(SUM)
    assert httpx.post(f"{url}/tokenize", json={"prompt": text}).json()["tokens"] == found["tokens"]
