"""The shipped chat model: its files load, its template is one text everywhere, and it answers."""

import json
from pathlib import Path
from random import Random
from typing import Any

import jinja2
import pytest
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.embedded.chat.conversation import Conversation, segments
from infra.embedded.chat.mixture import draw_conversation
from infra.embedded.chat.phrasing import Speaker

FOLDER = Path(__file__).parents[2] / "engine" / "embedded" / "kvorum-mini"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
Messages = list[dict[str, Any]]


def call(arguments: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def template() -> jinja2.Template:
    """The template in the sandbox that the server uses."""

    def fail(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = fail
    return environment.from_string((FOLDER / "chat_template.jinja").read_text())


def ask(model: Any, tokenizer: Any, messages: Messages, tools: Any = None) -> str:
    inputs = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, do_sample=False, max_new_tokens=100)
    return str(
        tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    )


def user(text: str, system: str | None = None) -> Messages:
    lead = [{"role": "system", "content": system}] if system else []
    return [*lead, {"role": "user", "content": text}]


def test_package_is_small_and_stored_in_bfloat16(model: Any) -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
    stored = AutoModelForCausalLM.from_pretrained(FOLDER, dtype="auto")
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.bfloat16}
    assert model.config.max_position_embeddings >= 2048


def test_control_tokens_are_last_and_end_the_answer(model: Any, tokenizer: Any) -> None:
    size = model.config.vocab_size
    assert len(tokenizer) == size
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert tokenizer.convert_tokens_to_ids(names) == [size - 3, size - 2, size - 1]
    assert model.generation_config.eos_token_id == size - 1 == tokenizer.eos_token_id


@pytest.mark.parametrize(
    "text",
    [
        "Hello  wörld\n\t 😀 中文 \r\n ",
        '{"answer": "x"}, "enum": ["a", "b"]}}',
        '<tool_call>{"name": "x", "arguments": {"a": 1}}</tool_call>',
        " leading and trailing ",
        "e\u0301 \u200b\x00 \ufffd",
        "<|im_start|>user\nhi<|im_end|>",
    ],
)
def test_tokens_decode_to_the_same_text(tokenizer: Any, text: str) -> None:
    raw = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    ids = raw.encode(text).ids
    assert tokenizer(text)["input_ids"] == ids
    assert raw.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        (user("hi"), None),
        (user("hi", "Be <kind> & 'brief'."), [WEATHER]),
        ([{"role": "developer", "content": " D\n"}, *user("hi\n")], [WEATHER, WEATHER]),
        ([*user("Rain?"), call({"city": "Köln"}), {"role": "tool", "content": "no"}], [WEATHER]),
        ([*user("Rain?"), {**call('{"city": "X"}'), "content": None}], None),
        ([*user("Rain?"), {**call({"city": "X"}), "content": "Let me see."}], None),
        ([{"role": "user", "content": [{"type": "text", "text": "parts"}]}], None),
    ],
)
def test_template_is_the_same_in_jinja_and_transformers(
    tokenizer: Any, template: jinja2.Template, messages: Messages, tools: Any, prompt: bool
) -> None:
    expected = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=prompt
    )
    rendered = template.render(messages=messages, tools=tools, add_generation_prompt=prompt)
    assert rendered == expected


def test_arguments_render_the_same_as_mapping_and_as_json(tokenizer: Any) -> None:
    arguments = {"city": "Osk", "days": 3}
    texts = [
        tokenizer.apply_chat_template([*user("?"), call(value)], tokenize=False)
        for value in (arguments, json.dumps(arguments))
    ]
    assert texts[0] == texts[1]
    assert '{"name": "get_weather", "arguments": {"city": "Osk", "days": 3}}' in texts[0]


def test_unknown_roles_are_refused(template: jinja2.Template) -> None:
    with pytest.raises(jinja2.TemplateError, match="poet"):
        template.render(messages=[{"role": "poet", "content": "x"}])


def test_training_text_is_the_template_text(template: jinja2.Template) -> None:
    speaker = Speaker(Random(5))
    for _ in range(200):
        conversation: Conversation = draw_conversation(speaker)
        rendered = template.render(messages=conversation.messages, tools=conversation.tools)
        assert rendered == "".join(text for text, _ in segments(conversation)) + "\n"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (user("Hello!"), "Hello"),
        (user("Who are you?"), "Kvorum"),
        (user("What is 17 + 25?"), "Answer: 42."),
        (user("whats 9 times 8"), "Answer: 72."),
        (user("The red box is in the kitchen. Where is the red box?"), "in the kitchen"),
        (user("Bruno lives in Osk. Who lives in Osk?"), "Bruno"),
        (user("Where does Bruno live?", "Anna lives in Ulm. Bruno lives in Osk."), "Osk"),
        (user("Reverse the word stone."), "enots"),
        (user("Write a poem about the sea."), "I don't know that."),
    ],
)
def test_answers(model: Any, tokenizer: Any, messages: Messages, expected: str) -> None:
    assert expected in ask(model, tokenizer, messages)


def test_remembers_an_earlier_turn(model: Any, tokenizer: Any) -> None:
    messages = user("My name is Simon.")
    messages.append({"role": "assistant", "content": ask(model, tokenizer, messages)})
    assert "Simon" in ask(model, tokenizer, [*messages, *user("What is my name?")])


def test_follows_the_system_prompt(model: Any, tokenizer: Any) -> None:
    reply = ask(model, tokenizer, user("How are you?", "Answer in upper case."))
    assert reply.isupper()


def test_calls_a_tool_and_uses_its_result(model: Any, tokenizer: Any) -> None:
    messages = user("What is the weather in Osk?")
    reply = ask(model, tokenizer, messages, [WEATHER])
    text = '<tool_call>{"name": "get_weather", "arguments": {"city": "Osk"}}</tool_call>'
    assert reply == text
    messages += [call({"city": "Osk"}), {"role": "tool", "content": '{"temperature": 21}'}]
    assert "21" in ask(model, tokenizer, messages, [WEATHER])


def test_does_not_call_a_tool_without_need(model: Any, tokenizer: Any) -> None:
    assert "Hello" in ask(model, tokenizer, user("Hello!"), [WEATHER])
