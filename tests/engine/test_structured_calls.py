"""Whatever the weights, calls in each family's form are valid calls of the tools."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from engine.models.registry import resolve
from engine.structured import grammar
from engine.structured.calls import (
    BadArguments,
    CallForm,
    Thought,
    of_calls,
    of_calls_in_text,
    of_calls_or_form,
)
from engine.structured.tagged_arguments import loosened
from engine.structured.vetting import fault_of
from engine.structured.vocabulary import (
    SAYABLE,
    Vocabulary,
    is_control,
)
from engine.text.tokenizer import Tokenizer
from engine.text.tool_parsers.argument_types import ArgumentTypes
from engine.text.tool_parsers.leading_calls import LeadingCallParser
from engine.text.tool_parsers.select import FORMATS, tool_parser_named
from tests.engine.text.test_tool_parsers import joined

CARD = resolve()
END = CARD.eos_token_ids[0]

# What chat templates hold of each form.
SOURCES = {
    "hermes": ["", "<tool_call>\\n"],
    "mistral": ["[TOOL_CALLS] [", "[TOOL_CALLS][", "[TOOL_CALLS]f[ARGS]"],
    "qwen3_coder": [""],
    "glm45": ["</arg_key>\n<arg_value>", "</arg_key><arg_value>"],
    "deepseek_v3": ["<｜tool▁sep｜>f\n```json", ""],
    "openai": [""],
    "llama3_json": [""],
}
SHAPES = [(name, source) for name, sources in SOURCES.items() for source in sources]
MARKED = [(name, source) for name, source in SHAPES if name != "llama3_json"]
TAGGED = ["qwen3_coder", "glm45"]
PLAIN_MARKS = ["<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<think>", "</think>"]

SHORT = {"type": "string", "maxLength": 8}
TREE = {
    "type": "object",
    "properties": {"x": SHORT, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
    "required": ["next"],
    "additionalProperties": False,
}
PARAMETERS: dict[str, Any] = {
    "f": {
        "properties": {"a": {"type": "boolean"}, "b": SHORT, "n": {"type": ["integer", "null"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "get-it": {
        "type": "object",
        "properties": {
            "c": {"enum": ["x", 5, "two\nlines"]},
            "list": {"type": "array", "items": SHORT, "maxItems": 2},
            "o": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "tree": {"$ref": "#/$defs/tree"},
        },
        "required": ["list"],
        "additionalProperties": False,
        "$defs": {"tree": TREE},
    },
}


class Model:
    """A tokenizer, as text is made with it and as grammars see it."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        self.tokenizer = Tokenizer.from_folder(folder)
        self.vocabulary = Vocabulary(str(folder / "tokenizer.json"), vocab_size, CARD.eos_token_ids)
        self.opened = self.vocabulary.open()
        added = self.tokenizer.added_tokens
        self.control = {i for i, token in added.items() if is_control(token.content, token.special)}
        self.said = [
            added[i].content.encode() if i in added else self.tokenizer.token_bytes(i)
            for i in range(vocab_size)
        ]
        """What each token stands for."""

    def form(self, name: str, source: str) -> CallForm:
        shape = tool_parser_named(name).shape(source)
        texts = "\n".join(shape.texts)
        ids = {
            token.content: token_id
            for token_id, token in self.tokenizer.added_tokens.items()
            if is_control(token.content, token.special) and token.content in texts
        }
        spoken = [self.tokenizer.token_to_id(tag) for tag in ("<think>", "</think>")]
        opening, closing = spoken
        if opening is None or closing is None:
            return CallForm(shape, ids)
        return CallForm(shape, ids, (opening, closing), Thought(opening, closing, "</think>"))


@pytest.fixture(scope="module")
def texts() -> Model:
    """All marks but Hermes' are text here."""
    return Model(Path(CARD.path), CARD.vocab_size)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same with a token for each mark, special where the families have special ones."""
    folder = tmp_path_factory.mktemp("marks")
    file = json.loads((Path(CARD.path) / "tokenizer.json").read_text())
    known = {token["content"] for token in file["added_tokens"]}
    marks = sorted((SAYABLE | {*PLAIN_MARKS}) - known)
    for token_id, mark in enumerate(marks, CARD.vocab_size):
        added = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        is_special = mark not in PLAIN_MARKS
        file["added_tokens"].append(
            {"id": token_id, "content": mark, "special": is_special, **added}
        )
    (folder / "tokenizer.json").write_text(json.dumps(file))
    return Model(folder, CARD.vocab_size + len(marks))


@pytest.fixture(params=["texts", "tokens"])
def model(request: pytest.FixtureRequest) -> Model:
    """Either tokenizer."""
    found: Model = request.getfixturevalue(request.param)
    return found


def drawn(model: Model, text: str, form: CallForm, *, seed: int, start: str = "") -> str | None:
    """What random weights say within the grammar, after `start`; None if they come to no end.
    Marks and ends are likelier than the rest, and an argument's end is tried now and then."""
    draw = np.random.default_rng(seed)
    marks = [*'"}],<', "</", "parameter", ">", "|", "\n</", *form.shape.texts]
    likely = [token_id for mark in marks for token_id in model.tokenizer.encode(mark)]
    likely += [END, *form.token_ids.values()]
    matcher = model.opened.matcher(text)
    ids = say(model, matcher, start)
    assert ids is not None
    for step in range(300):
        if form.shape.argument is not None and step % 40 == 39:
            ending = matcher.deep_copy()
            if said := say(model, ending, form.shape.argument.closing):
                matcher, ids = ending, ids + said
        (allowed,) = model.opened.allowed([matcher])
        assert not matcher.is_error(), matcher.get_error()
        scores = draw.gumbel(size=len(allowed))
        scores[likely] += 3
        scores[END] += 3
        scores[~allowed] = -np.inf
        token_id = int(scores.argmax())
        if token_id == END:
            return model.tokenizer.decode(ids, skip_special_tokens=False)
        matcher.consume_token(token_id)
        ids.append(token_id)
    return None


def say(model: Model, matcher: Any, text: str) -> list[int] | None:
    """Move on by a text, marks as tokens where they are some; None if it cannot be said."""
    ids: list[int] = []
    left = text.encode()
    while left:
        (allowed,) = model.opened.allowed([matcher])
        begins = [left.startswith(said) for said in model.said]
        fits = np.flatnonzero(allowed & begins).tolist()
        if not fits:
            return None
        ids.append(max(fits, key=lambda i: (i in model.control, len(model.said[i]))))
        matcher.consume_token(ids[-1])
        left = left[len(model.said[ids[-1]]) :]
    return ids


def can_say(model: Model, text: str, answer: str, *, ends: bool = True) -> bool:
    """Whether the grammar takes the answer, and its end there."""
    matcher = model.opened.matcher(text)
    if say(model, matcher, answer) is None:
        return False
    (allowed,) = model.opened.allowed([matcher])
    return bool(allowed[END]) or not ends


def tools_of(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in parameters.items()
    ]


def schemas_of(parameters: dict[str, Any]) -> dict[str, dict[str, object]]:
    return {name: grammar.arguments_of(schema) for name, schema in parameters.items()}


def parsed(name: str, parameters: dict[str, Any], text: str) -> tuple[str, list[tuple[str, str]]]:
    """Content and calls; they are the same however the text is split, and the calls are valid."""
    whole, parts = (tool_parser_named(name)(tools_of(parameters)) for _ in range(2))
    content, calls = joined(whole.push(text) + whole.finish())
    pieces = [delta for char in text for delta in parts.push(char)]
    assert joined(pieces + parts.finish()) == (content, calls)
    for function, arguments in calls:
        jsonschema.validate(json.loads(arguments), {"type": "object", **parameters[function]})
    return content, calls


def test_each_format_says_how_its_calls_are_written() -> None:
    assert {form.name for form in FORMATS} == set(SOURCES)
    for name, source in SHAPES:
        shape = tool_parser_named(name).shape(source)
        assert (shape.begin + shape.head).startswith(shape.mark)


@pytest.mark.parametrize("is_one_call", [False, True])
@pytest.mark.parametrize(("name", "source"), SHAPES)
def test_forced_calls_are_calls_of_the_tools(
    model: Model, name: str, source: str, is_one_call: bool
) -> None:
    form = model.form(name, source)
    text = of_calls(form, schemas_of(PARAMETERS), is_one_call=is_one_call)
    assert fault_of(text, model.vocabulary) == ""
    num_answers = 0
    for seed in range(6):
        answer = drawn(model, text, form, seed=seed)
        if answer is None:
            continue
        content, calls = parsed(name, PARAMETERS, answer)
        assert content == ""
        assert len(calls) == 1 or (calls and not (is_one_call or form.shape.is_single))
        num_answers += 1
    assert num_answers


@pytest.mark.parametrize(("name", "source"), MARKED)
def test_marks_that_are_tokens_are_said_as_tokens(tokens: Model, name: str, source: str) -> None:
    form = tokens.form(name, source)
    text = of_calls(form, schemas_of(PARAMETERS), is_one_call=True)
    assert f"<[{form.token_ids[form.shape.mark]}]>" in text or name == "mistral"
    (allowed,) = tokens.opened.allowed([tokens.opened.matcher(text)])
    assert np.flatnonzero(allowed).tolist() == tokens.tokenizer.encode(form.shape.mark)


@pytest.mark.parametrize("is_one_call", [False, True])
@pytest.mark.parametrize(("name", "source"), MARKED)
def test_calls_that_come_in_free_text_are_calls_of_the_tools(
    model: Model, name: str, source: str, is_one_call: bool
) -> None:
    form = model.form(name, source)
    shape = form.shape
    text = of_calls_in_text(form, schemas_of(PARAMETERS), is_one_call=is_one_call)
    assert fault_of(text, model.vocabulary) == ""
    before = (
        "Hm, <tool"
        if shape.message is None
        else f"{shape.message.heads[0]}Hm.{shape.message.between}"
    )
    num_calls = 0
    for seed in range(6):
        start = before * (seed % 2) + (shape.begin + shape.head if seed > 2 else "")
        answer = drawn(model, text, form, seed=seed, start=start)
        if answer is not None:
            _, calls = parsed(name, PARAMETERS, answer)
            num_calls += len(calls)
            assert len(calls) >= (seed > 2)
            assert len(calls) < 2 or not (is_one_call or shape.is_single)
    assert num_calls


@pytest.mark.parametrize(("name", "source"), MARKED)
def test_text_stays_free_but_for_the_mark_of_a_call(model: Model, name: str, source: str) -> None:
    form = model.form(name, source)
    shape = form.shape
    text = of_calls_in_text(form, schemas_of(PARAMETERS), is_one_call=False)
    open_ended = "" if shape.message is None else shape.message.heads[-1]
    for free in ("", "Hi 🌍\n", '{"a": 1}', "<tool <|x|> [TOOL", "<b>f</b>"):
        assert can_say(model, text, open_ended + free)
    if shape.message is None and form.spoken_ids:
        assert can_say(model, text, "<think>Hm.</think>\n\nHi")
    call = f"{shape.begin}{shape.head}"
    assert can_say(model, text, call, ends=False)
    assert not can_say(model, text, f"{call}nobody", ends=False)


@pytest.mark.parametrize(("name", "source"), MARKED)
def test_an_answer_of_one_call_ends_with_it(tokens: Model, name: str, source: str) -> None:
    form = tokens.form(name, source)
    shape = form.shape
    parameters = {"f": {"type": "object", "additionalProperties": False}}
    arguments = "" if shape.argument else "{}"
    call = f"{shape.head}f{shape.named}{arguments}{shape.tail}"
    texts = [
        of_calls_in_text(form, schemas_of(parameters), is_one_call=is_one)
        for is_one in (False, True)
    ]
    for text in texts:
        assert can_say(tokens, text, f"{shape.begin}{call}{shape.end}")
    many, one = texts
    more = f"{shape.begin}{call}{shape.between}{call}{shape.end}"
    assert can_say(tokens, many, more) != shape.is_single
    assert not can_say(tokens, one, more, ends=False)
    assert not can_say(tokens, one, f"{shape.begin}{call}{shape.end} and", ends=False)


def test_bare_calls_are_told_from_text_by_their_first_brace(texts: Model) -> None:
    form = texts.form("llama3_json", "")
    text = of_calls_in_text(form, schemas_of(PARAMETERS), is_one_call=False)
    assert fault_of(text, texts.vocabulary) == ""
    for free in ("", " \n", "Hi {", "\n[1]", "<|python"):
        assert can_say(texts, text, free)
    for call in (" {", "\x1c{", '{"name": "nobody"', '{"a"', ' <|python_tag|>{"name"'):
        assert not can_say(texts, text, call, ends=False)
    for seed in range(6):
        start = '{"name": "' if seed % 2 else ""
        answer = drawn(texts, text, form, seed=seed, start=start)
        if answer is not None:
            content, calls = parsed("llama3_json", PARAMETERS, answer)
            assert bool(calls) == bool(start)
            assert not (calls and content)


def test_what_may_be_hidden_before_a_bare_call_does_not_hide_it(tokens: Model) -> None:
    form = tokens.form("llama3_json", "")
    text = of_calls_in_text(form, schemas_of(PARAMETERS), is_one_call=False)
    assert fault_of(text, tokens.vocabulary) == ""
    for free in ("<think>", " <think>\n</think> ", "<think> Hm.</think> {", "So<think>{", "\n\n"):
        assert can_say(tokens, text, free)
    for call in (
        "<think>{",
        " <think> \n{",
        "<think></think>{",
        "<think>\n<think> <|python_tag|>{",
    ):
        assert not can_say(tokens, text, call, ends=False)


@pytest.mark.parametrize("is_one_call", [False, True])
@pytest.mark.parametrize(("name", "source"), MARKED)
def test_a_mark_in_reasoning_that_an_answer_begins_with_begins_no_call(
    tokens: Model, name: str, source: str, is_one_call: bool
) -> None:
    form = tokens.form(name, source)
    shape = form.shape
    if shape.message is not None:
        return
    text = of_calls_in_text(form, schemas_of(PARAMETERS), is_one_call=is_one_call)
    call = f"{shape.begin}{shape.head}"
    assert can_say(tokens, text, f"<think>\nI write {shape.mark} and {call}nobody")
    thought = f"\n<think>\n{shape.mark} so {call}x {shape.mark} <think></think>\n\n"
    assert can_say(tokens, text, f"{thought}Done <tool")
    assert can_say(tokens, text, f"{thought}I look. {call}get-it", ends=False)
    for before in (thought, f"{thought}I look. ", "So: <think>"):
        assert not can_say(tokens, text, f"{before}{call}nobody", ends=False)


@pytest.mark.parametrize(("name", "source"), MARKED)
def test_an_answer_is_calls_or_of_the_form(model: Model, name: str, source: str) -> None:
    form = model.form(name, source)
    mark = form.shape.mark
    schema = {"type": "object", "properties": {"s": SHORT}, "additionalProperties": False}
    others: list[Any] = [
        (grammar.of_schema(schema), ['{"s": "x"}', "{}"]),
        (grammar.of_regex(r"[<\[|a-z_>]+", unlike=mark), ["abc", "<", "[["]),
        (grammar.of_choice(["yes", "<tool", "[T"]), ["yes", "<tool", "[T"]),
    ]
    for other, answers in others:
        text = of_calls_or_form(form, schemas_of(PARAMETERS), other, is_one_call=False)
        assert fault_of(text, model.vocabulary) == ""
        for answer in answers:
            assert can_say(model, text, answer)
            assert leading(name, mark, answer) == (answer, [])
        for seed in range(4):
            start = form.shape.begin + form.shape.head
            called = drawn(model, text, form, seed=seed, start=start)
            if called is not None:
                content, calls = leading(name, mark, called)
                assert content == ""
                assert calls == parsed(name, PARAMETERS, called)[1]


def leading(name: str, mark: str, text: str) -> tuple[str, list[tuple[str, str]]]:
    found = []
    for pieces in ([text], list(text)):
        parser = LeadingCallParser(tool_parser_named(name)(tools_of(PARAMETERS)), mark)
        found.append(joined([d for piece in pieces for d in parser.push(piece)] + parser.finish()))
    assert found[0] == found[1]
    return found[0]


def test_a_message_that_begins_otherwise_has_no_calls() -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    assert leading("hermes", "<tool_call>", call) == ("", [("f", "{}")])
    for text in (f'{{"a": "{call}"}}', f" {call}", "<tool", "", "\n"):
        assert leading("hermes", "<tool_call>", text) == (text, [])


ARGUMENTS: list[Any] = [
    {"type": "string"},
    {"type": "string", "minLength": 2, "maxLength": 4, "description": "x"},
    {"type": "string", "maxLength": 0},
    {},
    True,
    {"type": "integer", "minimum": 0, "maximum": 9},
    {"type": "number"},
    {"type": ["boolean", "null"]},
    {"type": ["string", "number"]},
    {"enum": ["a", "ab", "a\n", "", "<b>", "true "]},
    {"type": "string", "enum": ["1", "null", "x"]},
    {"enum": ["a", 1.5, None, True, "-"]},
    {"const": "5"},
    {"const": {"a": ["</parameter>", "</arg_value>"]}},
    {"type": "object", "additionalProperties": SHORT},
    {"type": "array", "items": {"enum": ["</parameter>", "</arg_value>", "\n</", "\\"]}},
    {"anyOf": [{"$ref": "#/$defs/kind"}, {"type": "null"}]},
    {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "integer"}, {"type": "array"}]},
    {"oneOf": [{"const": "all"}, {"type": "integer", "minimum": 0, "maximum": 3}]},
    {"$ref": "#/$defs/tree"},
]


@pytest.mark.parametrize("schema", ARGUMENTS, ids=lambda schema: json.dumps(schema)[:40])
@pytest.mark.parametrize("name", TAGGED)
def test_bare_values_are_read_as_values_of_their_schemas(
    model: Model, name: str, schema: Any
) -> None:
    parameters = {
        "f": {
            "properties": {"a": schema, "b": {"const": 1}},
            "required": ["a", "b"],
            "additionalProperties": False,
            "$defs": {"tree": TREE, "kind": {"type": "string", "enum": ["k", "kk"]}},
        }
    }
    form = model.form(name, "")
    text = of_calls(form, schemas_of(parameters), is_one_call=True)
    assert fault_of(text, model.vocabulary) == ""
    answers = [drawn(model, text, form, seed=seed) for seed in range(6)]
    assert any(answers)
    for answer in filter(None, answers):
        content, calls = parsed(name, parameters, answer)
        assert (content, len(calls)) == ("", 1)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "pattern": "^a"}, "pattern"),
        ({"type": "string", "format": "date"}, "format"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "no value"),
        ({"type": "string", "maxLength": "x"}, "whole number"),
        ({"enum": ["</parameter> </arg_value>"]}, "another value"),
        ({"enum": ["1", 1]}, "another value"),
        ({"enum": ["x", [1]]}, "not plain"),
        ({"type": "string", "enum": [1]}, "no value"),
        ({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 5}]}, "cannot be told"),
        ({"anyOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}, "two kinds"),
        ({"oneOf": [{"type": "string"}, {"const": "a"}]}, "oneOf"),
        ({"allOf": [{"type": "string"}]}, "type is not said"),
        ({"properties": {"x": {}}}, "type is not said"),
        ({"$ref": "#/properties/a"}, r"\$defs"),
        ({"type": "array", "items": {"$ref": "#"}}, r"\$defs"),
        (False, "no value"),
    ],
)
def test_what_bare_values_cannot_promise_is_refused_by_its_name(
    texts: Model, schema: Any, reason: str
) -> None:
    for name in TAGGED:
        declared = {
            "good": {"type": "object"},
            "bad": {"type": "object", "properties": {"a": schema}},
        }
        with pytest.raises(BadArguments, match=reason) as refused:
            of_calls(texts.form(name, ""), declared, is_one_call=True)
        assert refused.value.function == "bad"
        assert "`a`" in str(refused.value)
        rest = loosened(declared["bad"])
        assert of_calls(texts.form(name, ""), {"bad": rest}, is_one_call=True)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"two words": {}}},
        {"properties": {}, "required": ["a"]},
        {"anyOf": [{"required": ["a"]}]},
        {"minProperties": 1},
        {"properties": []},
    ],
)
def test_what_arguments_as_a_whole_cannot_promise_is_refused(texts: Model, schema: Any) -> None:
    form = texts.form("glm45", "")
    with pytest.raises(BadArguments):
        of_calls(form, {"f": schema}, is_one_call=True)
    assert of_calls(form, {"f": loosened(schema)}, is_one_call=True)


def test_definitions_are_not_written_out_without_end(texts: Model) -> None:
    defs = {"big": {"type": "object", "properties": {f"p{n}": {} for n in range(3000)}}}
    properties = {f"a{n}": {"anyOf": [{"$ref": "#/$defs/big"}, {"const": n}]} for n in range(400)}
    with pytest.raises(BadArguments, match="too large"):
        of_calls(
            texts.form("glm45", ""),
            {"f": {"type": "object", "properties": properties, "$defs": defs}},
            is_one_call=True,
        )


WIDE = [{"$ref": "#/$defs/d0"}] * 8


def tower(choices: list[dict[str, str]], last: Any) -> dict[str, Any]:
    """Definitions of which each is a choice between the next one and itself, many times."""
    levels = {
        f"d{n}": {"anyOf": [{"$ref": each["$ref"].replace("d0", f"d{n + 1}")} for each in choices]}
        for n in range(9)
    }
    return {
        "type": "object",
        "properties": {f"p{n}": {"$ref": "#/$defs/d0"} for n in range(100)},
        "$defs": {**levels, "d9": last},
    }


@pytest.mark.parametrize(
    "last",
    [
        {"type": "integer"},
        {"type": ["string", "null"]},
        {"enum": ["a", 1]},
        {"anyOf": [{"$ref": "#/$defs/d0"}, {"type": "null"}]},
    ],
    ids=str,
)
def test_definitions_that_are_choices_of_each_other_cost_no_more_than_their_text(
    texts: Model, last: Any
) -> None:
    schema = tower(WIDE, last)
    form = texts.form("glm45", "")
    begun_s = time.thread_time()
    with suppress(BadArguments):
        of_calls(form, {"f": schema}, is_one_call=True)
    assert of_calls(form, {"f": loosened(schema)}, is_one_call=True)
    types = ArgumentTypes(tools_of({"f": schema}))
    found = {types.of("f", f"p{n}") for n in range(100)}
    assert len(found) == 1
    assert time.thread_time() - begun_s < 0.5


def test_all_definitions_that_types_depend_on_are_known_however_they_are_reached() -> None:
    defs = {
        **{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"const": n}]} for n in range(500)},
        "d500": {"type": "string"},
        "a b/~": {"anyOf": [{"$ref": "#/$defs/round"}, {"type": "null"}]},
        "round": {"oneOf": [{"$ref": "#/$defs/a%20b~1~0"}]},
    }
    declared = {
        "far": {"$ref": "#/$defs/d0"},
        "near": {"$ref": "#/$defs/d400"},
        "round": {"$ref": "#/$defs/a%20b~1~0"},
        "missing": {"$ref": "#/$defs/no"},
        "plain": {"anyOf": [{"type": "null"}] * 100 + [{"type": "array"}]},
    }
    types = ArgumentTypes(tools_of({"f": {"properties": declared, "$defs": defs}}))
    assert types.of("f", "far") == {"string", "integer", "number"}
    assert types.of("f", "near") == {"string", "integer", "number"}
    assert types.of("f", "plain") == {"null", "array"}
    for name in ("round", "missing", "nobody"):
        assert types.of("f", name) == frozenset()
    assert types.of("g", "far") == frozenset()


def test_choices_of_many_arguments_are_written_once(texts: Model) -> None:
    kinds = {"enum": [f"value {n}" for n in range(500)]}
    nullable = {"anyOf": [{"$ref": "#/$defs/kinds"}, {"type": "null"}]}
    schema = {
        "type": "object",
        "properties": {f"p{n}": nullable for n in range(50)},
        "$defs": {"kinds": kinds},
    }
    assert len(of_calls(texts.form("glm45", ""), {"f": schema}, is_one_call=True)) < 50_000


@pytest.mark.parametrize("required", [[[]], [5], "a"])
def test_what_is_no_list_of_names_is_not_required(texts: Model, required: object) -> None:
    schema: Any = {"properties": {"a": {}}, "required": required}
    with pytest.raises(BadArguments):
        of_calls(texts.form("glm45", ""), {"f": schema}, is_one_call=True)
    assert loosened(schema)["required"] == []
