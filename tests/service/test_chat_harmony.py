"""A chat with a model that writes the harmony format, as GPT-OSS does."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tokenizers
from tokenizers import AddedToken

from engine.text.prompt_encoder import PromptEncoder
from engine.text.templates.chat_template import ChatTemplate
from engine.text.tokenizer import Tokenizer
from engine.text.tokenizer_file import TokenizerFile
from service.served_model import ServedModel
from tests.engine.text.reasoning_templates import GPT_OSS
from tests.fakes import FakeEngine
from tests.requirements import requirement
from tests.service.chat_client import Call, chat_app, post, served_model

MARKS = (
    "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>",
)  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
LOOK = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>Five.<|return|>"


@functools.cache
def harmony_model(**parsers: str) -> ServedModel:
    """The embedded model under GPT-OSS's template; the marks are special tokens of its own."""
    card = served_model().card
    file = Path(card.path) / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(file))
    backend.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    tokenizer = Tokenizer(backend, TokenizerFile.read(file))
    encoder = PromptEncoder(tokenizer, ChatTemplate({"default": GPT_OSS}, {}))
    card = msgspec.structs.replace(card, vocab_size=tokenizer.vocab_size)
    return ServedModel(card, encoder, **parsers)


def ids_of(text: str) -> list[int]:
    return harmony_model().tokenizer.encode(text)


async def answer(text: str, model: ServedModel | None = None, **fields: Any) -> Call:
    async with chat_app(FakeEngine(ids_of(text)), model=model or harmony_model()) as app:
        return await post(app, **fields)


def kinds_of(call: Call) -> list[str]:
    """What the deltas of a stream hold, neighbours of a kind as one."""
    kinds: list[str] = []
    for delta in call.deltas_of(0):
        kind = next((k for k in ("reasoning", "tool_calls", "content") if delta.get(k)), "")
        if kind and kinds[-1:] != [kind]:
            kinds.append(kind)
    return kinds


def reasoning_of(call: Call) -> str:
    return "".join(delta.get("reasoning", "") for delta in call.deltas_of(0))


@requirement("chat.answer.reasoning", "chat.answer.reasoning_tokens")
async def test_analysis_is_reasoning_and_no_mark_is_left_in_the_answer() -> None:
    call = await answer(THOUGHT + FINAL)
    message = call.json["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("Hm.", "Five.")
    num_thought = call.json["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert num_thought == len(ids_of("<|message|>Hm.<|end|>"))


@requirement("chat.stream.reasoning")
async def test_a_preamble_is_content_and_reasoning_may_follow_it() -> None:
    call = await answer(LOOK + THOUGHT + FINAL, stream=True)
    assert kinds_of(call) == ["content", "reasoning", "content"]
    assert (reasoning_of(call), call.text) == ("Hm.", "I look.\nFive.")
    whole = (await answer(LOOK + THOUGHT + FINAL)).json["choices"][0]["message"]
    assert (whole["reasoning"], whole["content"]) == ("Hm.", "I look.\nFive.")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_found_between_reasoning(stream: bool) -> None:
    call = await answer(THOUGHT + LOOK + THOUGHT + CALL, tools=TOOLS, stream=stream)
    if stream:
        assert kinds_of(call) == ["reasoning", "content", "reasoning", "tool_calls"]
        assert (reasoning_of(call), call.text) == ("Hm.\nHm.", "I look.")
        return
    choice = call.json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert (choice["message"]["reasoning"], choice["message"]["content"]) == (
        "Hm.\nHm.",
        "I look.",
    )
    (found,) = choice["message"]["tool_calls"]
    assert found["function"] == {"name": "f", "arguments": '{"a": 1}'}


async def test_a_call_without_tools_is_text() -> None:
    choice = (await answer(THOUGHT + CALL)).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == '{"a": 1}'


async def test_nothing_follows_the_one_call_that_was_asked_for() -> None:
    text = THOUGHT + CALL + "<|start|>assistant" + THOUGHT + CALL + "<|start|>assistant" + FINAL
    call = await answer(text, tools=TOOLS, parallel_tool_calls=False, stream=True)
    starts = [d["tool_calls"][0] for d in call.deltas_of(0) if d.get("tool_calls")]
    assert {each["index"] for each in starts} == {0}
    assert call.text == ""


async def test_an_answer_of_a_form_has_no_reasoning() -> None:
    call = await answer("{}", response_format={"type": "json_object"})
    message = call.json["choices"][0]["message"]
    assert (message["content"], "reasoning" in message) == ("{}", False)


async def test_without_its_parser_the_channels_words_stay_in_the_text() -> None:
    call = await answer(THOUGHT + FINAL, harmony_model(reasoning_parser="none"))
    message = call.json["choices"][0]["message"]
    assert message["content"] == "analysisHm.assistantfinalFive."
    assert "reasoning" not in message
