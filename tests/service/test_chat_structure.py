"""What a request says of its answer's form, with each family's calls beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from engine.text.prompt_encoder import PromptEncoder
from engine.text.templates.chat_template import ChatTemplate
from engine.text.tokenizer import Tokenizer
from service.errors import ApiError
from service.request_limits import RequestLimits
from service.schemas.chat_checks import parse_chat
from service.schemas.chat_structure import structure_of
from service.served_model import ServedModel
from service.structure import Held, Structure
from tests.fakes import FakeEngine
from tests.service.chat_client import body_of, chat_app, ids_of, post, served_model, thinking_model

TEMPLATES = {
    "hermes": '<tool_call>{"arguments": }',
    "mistral": "[TOOL_CALLS][ARGS]",
    "qwen3_coder": "<tool_call><function=",
    "glm45": "<tool_call><arg_key>",
    "deepseek_v3": "<｜tool▁call▁begin｜>",
    "openai": "<|channel|><|message|>functions.",
    "llama3_json": '"name": function name, "parameters": dictionary of argument name',
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
JSON_OBJECT = {"response_format": {"type": "json_object"}}
CALL = '<tool_call>{"name": "f", "arguments": {"city": "Ulm"}}</tool_call>'


def model_of(source: str) -> ServedModel:
    """The embedded tokenizer under another template."""
    text = "{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}" + source
    template = ChatTemplate({"default": text}, {})
    return ServedModel(served_model().card, PromptEncoder(served_model().tokenizer, template))


def tool(name: str = "f", parameters: object = CITY, **fields: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **fields}}


def found(served: ServedModel, **fields: object) -> Structure | None:
    return structure_of(parse_chat(body_of(**fields), RequestLimits()), served, 65536)


def held(served: ServedModel, **fields: object) -> Held | None:
    structure = found(served, **fields)
    return None if structure is None else structure.held


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_calls_are_forced_free_or_instead_of_a_form(name: str) -> None:
    served = model_of(TEMPLATES[name])
    assert served.tool_format is not None
    assert served.tool_format.name == name
    loose, strict = [tool()], [tool(), tool("g", strict=True)]
    assert held(served, tools=loose, tool_choice="required") is Held.CALLS
    assert held(served, tools=loose) is None
    assert held(served, tools=loose, tool_choice="auto") is None
    assert held(served, tools=strict) is Held.CALLS_IN_TEXT
    assert held(served, tools=strict, tool_choice="none") is None
    beside = Held.ANSWER if name == "llama3_json" else Held.CALLS_OR_ANSWER
    assert held(served, tools=loose, **JSON_OBJECT) is beside
    assert held(served, tools=loose, tool_choice="none", **JSON_OBJECT) is Held.ANSWER
    assert held(served, **JSON_OBJECT) is Held.ANSWER


def test_a_model_without_a_form_of_calls_is_left_alone() -> None:
    served = model_of("")
    assert held(served, tools=[tool(strict=True)]) is None
    assert held(served, tools=[tool(strict=True)], **JSON_OBJECT) is Held.ANSWER


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"structured_outputs": {"json": CITY}}, Held.CALLS_OR_ANSWER),
        ({"structured_outputs": {"regex": "a+"}}, Held.CALLS_OR_ANSWER),
        ({"structured_outputs": {"choice": ["a", "<tool"]}}, Held.CALLS_OR_ANSWER),
        ({"guided_json": CITY}, Held.CALLS_OR_ANSWER),
        ({"guided_choice": ["a"]}, Held.CALLS_OR_ANSWER),
        ({"guided_choice": ["a", "<tool_call>"]}, Held.ANSWER),
        ({"structured_outputs": {"choice": ["<tool_call>b"]}}, Held.ANSWER),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, Held.ANSWER),
        ({"guided_grammar": 'start: "a"'}, Held.ANSWER),
        ({"response_format": {"type": "text"}}, None),
    ],
)
def test_a_form_that_could_be_taken_for_calls_has_none_beside_it(
    fields: dict[str, object], expected: Held | None
) -> None:
    assert held(served_model(), tools=[tool()], **fields) is expected


def test_of_several_functions_the_strict_ones_are_held_to_their_schemas() -> None:
    odd = tool("odd", {"type": "object", "not": {}})
    structure = found(served_model(), tools=[odd, tool("g", strict=True)])
    assert structure is not None
    assert "city" in structure.grammar
    assert '"not"' not in structure.grammar
    assert structure.param == "tools[1].function.parameters"
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
        {"type": "function", "function": {"name": "odd"}}]}}  # fmt: skip
    assert found(served_model(), tools=[odd, tool("g", strict=True)], tool_choice=allowed) is None


@pytest.mark.parametrize("name", ["qwen3_coder", "glm45"])
def test_what_tags_cannot_promise_is_asked_for_by_strict_functions_only(name: str) -> None:
    served = model_of(TEMPLATES[name])
    pattern = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    functions = [tool(), tool("g", pattern), tool("h", strict=True)]
    assert held(served, tools=functions) is Held.CALLS_IN_TEXT
    for fields in (
        {"tool_choice": "required"},
        {"tools": [tool(), tool("g", pattern, strict=True)]},
    ):
        with pytest.raises(ApiError) as refused:
            found(served, **{"tools": functions, **fields})
        assert refused.value.status == 400
        assert refused.value.param == "tools[1].function.parameters"
        assert "`a`: `pattern`" in refused.value.message


@pytest.mark.parametrize("name", ["hermes", "glm45"])
def test_of_calls_the_vetter_is_told_which_functions_they_were_made_of(name: str) -> None:
    served = model_of(TEMPLATES[name])
    functions = [tool(), tool("g", strict=True)]
    forced = found(served, tools=functions, tool_choice="required")
    free = found(served, tools=functions)
    beside = found(served, tools=functions, **JSON_OBJECT)
    params = [f"tools[{index}].function.parameters" for index in (0, 1)]
    for structure, expected in (
        (forced, params),
        (free, params[1:]),
        (beside, ["response_format", *params[1:]]),
    ):
        assert structure is not None
        assert [param for param, _ in structure.parts] == expected
        assert all("json_schema" in grammar for _, grammar in structure.parts)


@pytest.mark.parametrize("schema", [True, "true", " true "])
@pytest.mark.parametrize("field", ["guided_json", "structured_outputs"])
def test_a_schema_that_is_true_allows_any_json(field: str, schema: object) -> None:
    value = schema if field == "guided_json" else {"json": schema}
    anything = found(served_model(), **{field: value})
    assert anything == found(
        served_model(), **{field: {} if field == "guided_json" else {"json": {}}}
    )


def test_a_schema_that_is_false_is_refused() -> None:
    for schema in (False, "false"):
        with pytest.raises(ApiError, match="no value") as refused:
            found(served_model(), structured_outputs={"json": schema})
        assert (refused.value.status, refused.value.param) == (400, "structured_outputs.json")


def test_bare_calls_of_a_model_that_thinks_are_not_held_in_text() -> None:
    served = model_of(TEMPLATES["llama3_json"] + "<think></think>")
    assert held(served, tools=[tool(strict=True)], tool_choice="required") is Held.CALLS
    with pytest.raises(ApiError, match="strict"):
        found(served, tools=[tool(strict=True)])


@pytest.mark.parametrize("has_tokens", [False, True])
def test_reasoning_between_tokens_is_no_place_for_calls(tmp_path: Path, has_tokens: bool) -> None:
    plain = served_model()
    file = json.loads((Path(plain.card.path) / "tokenizer.json").read_text())
    ids = [plain.tokenizer.vocab_size, plain.tokenizer.vocab_size + 1]
    names = ("<think>", "</think>") if has_tokens else ("<a>", "</a>")
    known = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    file["added_tokens"] += [
        {"id": token_id, "content": name, **known}
        for token_id, name in zip(ids, names, strict=True)
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    template = model_of(TEMPLATES["hermes"] + "<think></think>").encoder.template
    served = ServedModel(
        msgspec.structs.replace(plain.card, vocab_size=ids[-1] + 1),
        PromptEncoder(Tokenizer.from_folder(tmp_path), template),
    )
    structure = found(served, tools=[tool(strict=True)])
    assert structure is not None
    assert (f"<[{ids[1]}]>" in structure.grammar) is has_tokens


@pytest.mark.parametrize("field", [{"ignore_eos": True}, {"min_tokens": 3}])
def test_the_form_of_calls_says_where_an_answer_ends(field: dict[str, object]) -> None:
    assert found(served_model(), tools=[tool()], **field) is None
    with pytest.raises(ApiError) as refused:
        found(served_model(), tools=[tool(strict=True)], **field)
    assert refused.value.param in field


async def test_a_model_thinks_before_a_call_that_is_strict() -> None:
    source = TEMPLATES["hermes"] + "<think></think>{% if add_generation_prompt %}<think>{% endif %}"
    thinking = model_of(source)
    said = f"Hm.</think>\n\nI look. {CALL}"
    async with chat_app(FakeEngine(ids_of(said)), model=thinking) as app:
        call = await post(app, tools=[tool(strict=True)])
        forced = await post(app, tools=[tool(strict=True)], tool_choice="required")
    message = call.json["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("Hm.", "I look. ")
    (made,) = message["tool_calls"]
    jsonschema.validate(json.loads(made["function"]["arguments"]), CITY)
    assert forced.json["choices"][0]["message"]["content"] is None


@pytest.mark.parametrize(
    ("said", "content", "num_calls"),
    [
        (CALL, None, 1),
        (f"{CALL}\n{CALL}", None, 2),
        (json.dumps({"a": CALL}), json.dumps({"a": CALL}), 0),
        ("<tool", "<tool", 0),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_calls_only_if_it_begins_with_one(
    said: str, content: str | None, num_calls: int, stream: bool
) -> None:
    async with chat_app(FakeEngine(ids_of(said))) as app:
        call = await post(app, tools=[tool()], stream=stream, **JSON_OBJECT)
    if stream:
        deltas: list[Any] = call.deltas_of(0)
        assert call.text_of(0) == (content or "")
        assert sum("id" in c for d in deltas for c in d.get("tool_calls") or ()) == num_calls
    else:
        choice = call.json["choices"][0]
        assert choice["message"]["content"] == content
        assert len(choice["message"].get("tool_calls") or ()) == num_calls
        assert choice["finish_reason"] == ("tool_calls" if num_calls else "stop")


async def test_a_call_that_a_stop_string_cuts_is_no_reason_to_call() -> None:
    fields: dict[str, object] = {"tools": [tool()], "tool_choice": "required"}
    async with chat_app(FakeEngine(ids_of(CALL))) as app:
        calls = [await post(app, stop=[stop], **fields) for stop in ("Ulm", "name", "}<")]
    cut, nameless, whole = (call.json["choices"][0] for call in calls)
    assert [choice["finish_reason"] for choice in (cut, nameless, whole)] == [
        *("stop", "stop", "tool_calls")
    ]
    assert cut["message"]["tool_calls"]
    assert not nameless["message"]["content"]


async def test_a_thinking_template_does_not_open_the_reasoning_of_a_form() -> None:
    async with chat_app(FakeEngine(ids_of("{}")), model=thinking_model()) as app:
        call = await post(app, **JSON_OBJECT)
    assert call.json["choices"][0]["message"]["content"] == "{}"
