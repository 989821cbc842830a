"""Each format's calls come out of its text, however it is split, and hostile text costs little."""

import itertools
import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.tool_parsers.base import ContentDelta, Delta, ToolCallArguments
from engine.text.tool_parsers.select import FORMATS, tool_parser_for, tool_parser_named
from tests.engine.text.test_tool_parsers import joined

Calls = list[tuple[str, str]]
F = ("f", '{"a": 1}')
OBJECT = '{"name": "f", "arguments": {"a": 1}}'
NAMES = [form.name for form in FORMATS]

# Texts with what must come of them. The first of each format is a plain call.
LLAMA = [
    ('{"name": "f", "parameters": {"a": 1}}', "", [F]),
    (OBJECT, "", [F]),
    ("<|python_tag|>" + OBJECT, "", [F]),
    (f" \n{OBJECT}; {OBJECT};\n", "", [F, F]),
    (f"{OBJECT}\n{OBJECT}", "", [F, F]),
    ('{"type": "function", "name": "f", "parameters": {"a": 1}}', "", [F]),
    (f"{OBJECT}\nDone. {OBJECT}", f"\nDone. {OBJECT}", [F]),
    ('{"name": "f", "parameters": {"a": 1}', "", [F]),
    # No call.
    (f"So: {OBJECT}", f"So: {OBJECT}", []),
    ('{"name": "Bob", "age": 3}', '{"name": "Bob", "age": 3}', []),
    (' {"a": [1]} is it', ' {"a": [1]} is it', []),
    ('{"a": 1, "name": "f", "parameters": {}}', '{"a": 1, "name": "f", "parameters": {}}', []),
    ('{"na\\u006de": "f", "parameters": {}}', '{"na\\u006de": "f", "parameters": {}}', []),
    ("<|python_tag|>print(1)", "<|python_tag|>print(1)", []),
    ("<|python", "<|python", []),
    ('{"name": "f', '{"name": "f', []),
    ("  ", "  ", []),
    # Broken or cut after the start.
    ('{"name": "f", "parameters": {"a": x}}', "}}", [("f", '{"a": x')]),
    ('{"name": "f", "parameters": {"a": "cu', "", [("f", '{"a": "cu')]),
    (OBJECT + "; {oops", "; {oops", [F]),
    (OBJECT + '; {"name": "g"', '; {"name": "g"', [F]),
]  # fmt: skip
MISTRAL = [
    (f"[TOOL_CALLS][{OBJECT}]", "", [F]),
    (f"[TOOL_CALLS] [{OBJECT}, {OBJECT}]", "", [F, F]),
    (f"[TOOL_CALLS]{OBJECT}", "", [F]),
    ('[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "VvvODy9mT"}]', "", [F]),
    ('[TOOL_CALLS][{"arguments": {"a": 1}, "name": "f"}]', "", [F]),
    ('[TOOL_CALLS]f[ARGS]{"a": 1}', "", [F]),
    ('[TOOL_CALLS]f{"a": 1}', "", [F]),
    ('[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{"a": 1}', "", [F]),
    ('Hm.[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}', "Hm.", [F, ("g", "{}")]),
    ('[TOOL_CALLS]f[ARGS]{"a": 1}\nDone.', "\nDone.", [F]),
    ('[TOOL_CALLS][TOOL_CALLS]f[ARGS]{"a": 1}', "[TOOL_CALLS]", [F]),
    # No call.
    ("[TOOL_CAL", "[TOOL_CAL", []),
    ("[TOOL_CALLS]", "[TOOL_CALLS]", []),
    ("[TOOL_CALLS]f[AR", "[TOOL_CALLS]f[AR", []),
    ("[TOOL_CALLS] [", "[TOOL_CALLS] [", []),
    ("[TOOL_CALLS][]", "[TOOL_CALLS][]", []),
    ('[TOOL_CALLS][{"name": 1}]', '[TOOL_CALLS][{"name": 1}]', []),
    ("[TOOL_CALLS]two words{}", "[TOOL_CALLS]two words{}", []),
    # Broken or cut after the start.
    ('[TOOL_CALLS]f[ARGS]{"a": x}', "}", [("f", '{"a": x')]),
    ('[TOOL_CALLS]f[ARGS]{"a": "cu', "", [("f", '{"a": "cu')]),
    (f"[TOOL_CALLS][{OBJECT}", "", [F]),
    (f"[TOOL_CALLS][{OBJECT}, ", "", [F]),
    (f"[TOOL_CALLS][{OBJECT}, x]", ", x]", [F]),
    (f'[TOOL_CALLS][{OBJECT}, {{"name": 1}}]', ', {"name": 1}]', [F]),
]  # fmt: skip
V = "<parameter=a>\n1\n</parameter>"
QWEN = [
    (f"<tool_call>\n<function=f>\n{V}\n</function>\n</tool_call>", "", [F]),
    ("<tool_call><function=f></function></tool_call>", "", [("f", "{}")]),
    (f"Hm.\n<tool_call>\n<function=f>{V}<parameter=b>\nx\n\"y\"\n</parameter></function></tool_call> ", "Hm.\n", [("f", '{"a": 1, "b": "x\\n\\"y\\""}')]),
    (f"<tool_call><function=f>{V}</function></tool_call>\n<tool_call><function=f>{V}</function></tool_call>", "", [F, F]),
    ("<tool_call><function=f><parameter=a>[1, {}]</parameter><parameter=b>None</parameter></function></tool_call>", "", [("f", '{"a": [1, {}], "b": "None"}')]),
    (f"<tool_call><function=f>{V}</tool_call>x", "x", [F]),
    (f"<tool_call><function=f>{V}</function>\nDone.", "\nDone.", [F]),
    # No call.
    ("<tool_call>\n<function=f", "<tool_call>\n<function=f", []),
    ("<tool_call>no</tool_call>", "<tool_call>no</tool_call>", []),
    (f"<tool_call><tool_call><function=f>{V}</function>", "<tool_call>", [F]),
    (OBJECT, OBJECT, []),
    # Broken or cut after the start.
    (f"<tool_call><function=f>{V} x <b>", " x <b>", [("f", '{"a": 1')]),
    ("<tool_call><function=f><parameter=a>\ncu", "", [("f", '{"a": "cu')]),
    ("<tool_call><function=f><parameter=a>\n1\n</para", "", [("f", '{"a": "1')]),
    ("<tool_call><function=f><parameter=a>\n1\n\n", "", [("f", '{"a": "1\\n\\n')]),
    ("<tool_call><function=f>\n<param", "", [("f", "{")]),
    (f"<tool_call><function=f>{V}\n</func", "", [("f", '{"a": 1')]),
    (f"<tool_call><function=f>{V} so <para", " so <para", [("f", '{"a": 1')]),
]  # fmt: skip
GLM = [
    ("<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>", "", [F]),
    ("<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value><arg_key>b</arg_key><arg_value> x\n</arg_value></tool_call>", "", [("f", '{"a": 1, "b": " x\\n"}')]),
    ("\n<tool_call>f\n</tool_call>\n<tool_call>g</tool_call>\nDone.", "\nDone.", [("f", "{}"), ("g", "{}")]),
    # No call.
    ("<tool_call>hello <b>", "<tool_call>hello <b>", []),
    ("<tool_call>two words</tool_call>", "<tool_call>two words</tool_call>", []),
    ("<tool_call>f\n", "<tool_call>f\n", []),
    (f"<tool_call>{OBJECT}</tool_call>", f"<tool_call>{OBJECT}</tool_call>", []),
    # Broken or cut after the start.
    ("<tool_call>f<arg_key>a</arg_key>x<arg_value>1", "<arg_key>a</arg_key>x<arg_value>1", [("f", "{")]),
    ("<tool_call>f<arg_key>a</arg_key><arg_value>cu", "", [("f", '{"a": "cu')]),
    ("<tool_call>f<arg_key>a</arg_key><arg_value>cu</arg", "", [("f", '{"a": "cu')]),
    ("<tool_call>f<arg_key>a", "", [("f", "{")]),
    ("<tool_call>f<arg_key>a</arg_key><arg_v", "", [("f", "{")]),
]  # fmt: skip
V3 = '<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```<｜tool▁call▁end｜>'
V31 = '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>'
BEGIN, END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
DEEPSEEK = [
    (BEGIN + V3 + END, "", [F]),
    (BEGIN + V31 + END, "", [F]),
    (f"Hm.\n{BEGIN}{V3}\n{V3}{END}", "Hm.\n", [F, F]),
    (BEGIN + V31 + V31 + END, "", [F, F]),
    (V31, "", [F]),
    (f"{BEGIN}{V31}{END}\nDone.", "\nDone.", [F]),
    ("<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}", "", [("function", "{}")]),
    # No call.
    (BEGIN, BEGIN, []),
    (BEGIN + "no {}", BEGIN + "no {}", []),
    (V3[:40], V3[:40], []),
    (V31.replace("f", "two words", 1), V31.replace("f", "two words", 1), []),
    # Broken or cut after the start.
    (V31.replace("1", "x"), "}<｜tool▁call▁end｜>", [("f", '{"a": x')]),
    (V3[:-22], "", [("f", '{"a": 1')]),
    (V3[:-20], "", [F]),
]  # fmt: skip
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
THOUGHT = "<|channel|>analysis<|message|>Hm. <|x|><|end|>"
HARMONY = [
    (CALL, "", [F]),
    ('<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a": 1}<|call|>', "", [F]),
    (' to=functions.f<|channel|>commentary json<|message|>\n{"a": 1}', "", [F]),
    (f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{CALL}", "I look.", [F]),
    ("<|channel|>final<|message|>Hello.<|return|>", "Hello.", []),
    (f"{THOUGHT}<|start|>assistant{CALL}", THOUGHT, [F]),
    (f"{THOUGHT}<|start|>assistant<|channel|>final<|message|>Hello.<|return|>", THOUGHT + "Hello.", []),
    (f"{CALL}<|start|>assistant{CALL}", "", [F, F]),
    # No call.
    ("Hello.", "Hello.", []),
    (" tomorrow", " tomorrow", []),
    ("f <| x <|end <|", "f <| x <|end <|", []),
    ("<|channel|>commentary to=functions.f", "<|channel|>commentary to=functions.f", []),
    ("<|channel|>commentary to=functions.f<|message|>no<|call|>", "<|channel|>commentary to=functions.f<|message|>no", []),
    ("<|channel|>commentary to=python<|message|>1<|call|>", "<|channel|>commentary to=python<|message|>1<|call|>", []),
    (f"<|start|>x<|end|><|message|>{CALL}", "<|start|>x<|message|>", [F]),
    (f"<|channel|>{'x' * 1100}{CALL}", f"<|channel|>{'x' * 1100}", [F]),
    # Broken or cut after the start.
    (CALL.replace("1", "x"), "}", [("f", '{"a": x')]),
    (CALL[:-10], "", [("f", '{"a": ')]),
]  # fmt: skip
TEXTS = {
    "llama3_json": LLAMA,
    "mistral": MISTRAL,
    "qwen3_coder": QWEN,
    "glm45": GLM,
    "deepseek_v3": DEEPSEEK,
    "openai": HARMONY,
}

# Of these hostile texts are made.
MARKS = {
    "hermes": ["<tool_call>", "</tool_call>", "<tool_call>" + OBJECT],
    "llama3_json": ["<|python_tag|>", ";"],
    "qwen3_coder": ["<tool_call>", "</tool_call>", "<function=", "<function=f>", "<parameter=a>", "</parameter>", "</function>"],
    "glm45": ["<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<tool_call>f<arg_key>"],
    "deepseek_v3": [BEGIN, END, V3, V31, "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "```json\n", "<｜tool▁call▁end｜>"],
    "openai": ["<|start|>assistant", "<|channel|>final", "<|message|>", "<|call|>", "<|end|>", "<|", " to=functions.f", "<|channel|>analysis<|message|>"],
    "mistral": ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[", "]", ",", "[TOOL_CALLS]["],
}  # fmt: skip
PIECES = [
    OBJECT, '{"name": "f", ', '"arguments": ', '"parameters": {', '{"a": 1}', "{", "}", "[", "]", '"', "\\",
    ",", " ", "\n", "f", "12", "é", "x y", "\ud800", "<", ">",
]  # fmt: skip


def parse(name: str, *pieces: str) -> list[Delta]:
    parser = tool_parser_named(name)()
    return [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()


@pytest.mark.parametrize(
    ("name", "text", "content", "calls"),
    [(name, *row) for name, rows in TEXTS.items() for row in rows],
)
def test_texts_become_content_and_calls_however_they_are_split(
    name: str, text: str, content: str, calls: Calls
) -> None:
    assert joined(parse(name, text)) == (content, calls)
    assert joined(parse(name, *text)) == (content, calls)
    for place in range(len(text)):
        assert joined(parse(name, text[:place], text[place:])) == (content, calls)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_nothing_raises_and_the_split_does_not_matter(name: str, data: st.DataObject) -> None:
    rows = [row[0] for row in TEXTS.get(name, [])]
    fragments = st.sampled_from([*MARKS[name], *PIECES, *rows])
    text = "".join(data.draw(st.lists(fragments, max_size=14)))
    content, calls = joined(parse(name, text))
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    cuts = [0, *places, len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(cuts)]
    assert joined(parse(name, *pieces)) == (content, calls)
    assert joined(parse(name, *text)) == (content, calls)
    if not calls and name != "openai":  # its marks around a plain text are no text
        assert content == text
    assert all(name for name, _ in calls)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_text_without_marks_is_content(name: str, text: str) -> None:
    assert joined(parse(name, *text)) == (text, [])


@pytest.mark.parametrize("name", NAMES)
def test_much_text_of_near_matches_is_quick(name: str) -> None:
    for near in near_matches(name):
        text = near * (300_000 // len(near))
        # 0.1 s is the promise for a megabyte without calls, a third of it leaves room for a busy
        # machine; calls, values and whole marks cost some microseconds each.
        num_parts = len(joined(parse(name, text))[1]) + text.count("<parameter=")
        limit = 0.1 + num_parts * 80e-6 + text.count("|>") * 2e-6
        assert any(seconds(name, text) < limit for _ in range(3)), near


@pytest.mark.parametrize("name", NAMES)
def test_small_pieces_of_hostile_text_stay_linear(name: str) -> None:
    for near in near_matches(name):
        text = near * (20_000 // len(near))
        assert seconds(name, *text) < 0.4, near


def near_matches(name: str) -> list[str]:
    marks = MARKS[name]
    rows = [text for text, _, _ in TEXTS.get(name, [])]
    cut = [text[: len(text) * share // 4] for text in rows[:6] for share in (2, 3)]
    return [each for each in (*marks, *(mark[:-1] for mark in marks), *cut, " ") if each]


def seconds(name: str, *pieces: str) -> float:
    begin = time.thread_time()
    parse(name, *pieces)
    return time.thread_time() - begin


@pytest.mark.parametrize("name", list(TEXTS))
def test_white_space_without_end_stays_cheap_wherever_it_is(name: str) -> None:
    for text, _, _ in TEXTS[name]:
        place = random.Random(text).randrange(len(text) + 1)
        hostile = text[:place] + " " * 10_000 + text[place:]
        assert seconds(name, *hostile) < 0.4
        assert joined(parse(name, hostile)) == joined(parse(name, *hostile))


def test_llama_streams_the_arguments() -> None:
    parser = tool_parser_named("llama3_json")()
    assert parser.push('{"name": "f", "parameters"') == []
    assert len(parser.push(': {"a')) == 2
    assert joined([*parse("llama3_json", OBJECT)])[1] == [F]


def test_llama_does_not_hold_back_json_that_is_no_call() -> None:
    parser = tool_parser_named("llama3_json")()
    assert parser.push(' {"na') == []
    assert parser.push('mes": ["') == [ContentDelta(' {"names": ["')]


def test_formats_have_the_names_that_vllm_gives_them() -> None:
    assert [tool_parser_named(name).name for name in NAMES] == NAMES
    assert tool_parser_named("kvorum").name == "hermes"
    with pytest.raises(ValueError, match=r"hermes, .*mistral"):
        tool_parser_named("none")


TEMPLATES = {
    "openai": "{{- \"<|start|>assistant to=functions.\" + tool_call.name + \"<|channel|>commentary json<|message|>\" }}",
    "qwen3_coder": "{{- '\\n<tool_call>\\n<function=' + tool_call.name + '>\\n' }}{%- for n, v in tool_call.arguments|items %}{{- '<parameter=' + n }}",
    "glm45": "<tool_call>{function-name}\\n<arg_key>{arg-key-1}</arg_key>\\n<arg_value>{arg-value-1}</arg_value> arguments",
    "deepseek_v3": "{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name']",
    "mistral": "{{- \"[TOOL_CALLS] [\" }}{%- set out = tool_call.function|tojson %}",
    "llama3_json": "{{- 'Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}. ' }}",
}  # fmt: skip


@pytest.mark.parametrize(("name", "source"), list(TEMPLATES.items()))
def test_a_template_shows_its_format(name: str, source: str) -> None:
    form = tool_parser_for(source)
    assert form is not None
    assert form.name == name


@pytest.mark.parametrize("name", list(TEXTS))
def test_arguments_are_json(name: str) -> None:
    (_, arguments), *_ = joined(parse(name, TEXTS[name][0][0]))[1]
    assert json.loads(arguments) == {"a": 1}


def tool(**properties: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "string"}, "5", '"5"'),
        ({"type": "string"}, "", '""'),
        ({"enum": ["1", "2"]}, "1", '"1"'),
        ({"const": "1"}, "1", '"1"'),
        ({"enum": ["1", True]}, "1", '"1"'),
        ({"enum": ["a", 1]}, "1", "1"),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "integer"}, "9" * 5000, "9" * 5000),
        ({"type": "array"}, '["</parameter></arg_value>", "\\""]', '["</parameter></arg_value>", "\\""]'),
        ({"type": "array"}, "[1", '"[1"'),
        ({"type": "integer"}, " 5 ", "5"),
        ({"type": "integer"}, "five", '"five"'),
        ({"type": "boolean"}, "True", "true"),
        ({"type": "object"}, '{"a": 1}', '{"a": 1}'),
        ({"type": "object"}, "{'a': 1}", "\"{'a': 1}\""),
        ({"type": ["string", "null"]}, "null", "null"),
        ({"type": ["string", "null"]}, "5", '"5"'),
        ({"anyOf": [{"type": "string"}, {"type": "number"}]}, "5", "5"),
        ({"anyOf": [{"$ref": "#/x"}, 3]}, "5", "5"),
        ({"type": 3}, "5", "5"),
        (None, "true", "true"),
        (None, "yes", '"yes"'),
        (None, '"yes"', '"\\"yes\\""'),
        ({}, "NaN", '"NaN"'),
        ({}, "[" * 5000, '"' + "[" * 5000 + '"'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["qwen3_coder", "glm45"])
def test_bare_values_become_json_by_the_tools_schemas(
    name: str, schema: object, value: str, expected: str
) -> None:
    text = {
        "qwen3_coder": f"<tool_call><function=f><parameter=a>\n{value}\n</parameter></function></tool_call>",
        "glm45": f"<tool_call>f<arg_key>a</arg_key><arg_value>{value}</arg_value></tool_call>",
    }[name]
    for pieces in ([text], list(text)):
        parser = tool_parser_named(name)([tool(a=schema)])
        deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
        assert joined(deltas) == ("", [("f", f'{{"a": {expected}}}')])


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "integer"}, " 12", "12"),
        ({"type": ["boolean", "null"]}, "", ""),
        ({"type": "array"}, '["a", "b', '["a", "b'),
        ({"type": "array"}, '["</parameter></arg_value>", "</', '["</parameter></arg_value>", "</'),
        ({"type": "object"}, '{"a": 1}</', '{"a": 1}'),
        ({"type": "string"}, "1</", '"1'),
        ({"type": "string"}, "1", '"1'),
        ({"type": ["string", "integer"]}, "1", '"1'),
        ({}, "1", '"1'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["qwen3_coder", "glm45"])
def test_a_value_that_is_cut_is_the_beginning_of_what_it_would_have_been(
    name: str, schema: object, value: str, expected: str
) -> None:
    text = {
        "qwen3_coder": f"<tool_call><function=f><parameter=a>\n{value}",
        "glm45": f"<tool_call>f<arg_key>a</arg_key><arg_value>{value}",
    }[name]
    for pieces in ([text], list(text)):
        parser = tool_parser_named(name)([tool(a=schema)])
        deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
        assert joined(deltas) == ("", [("f", f'{{"a": {expected}')])


@pytest.mark.parametrize(
    "tools",
    [[{}], [{"function": 3}], [{"function": {"name": "f", "parameters": []}}], [tool()], [{"function": {"name": "f", "parameters": {"properties": 1}}}]],
)  # fmt: skip
def test_odd_schemas_are_no_types(tools: list[dict[str, object]]) -> None:
    parser = tool_parser_named("qwen3_coder")(tools)
    assert joined(parser.push(QWEN[0][0]) + parser.finish()) == ("", [F])


@settings(max_examples=300, deadline=None)
@given(value=st.text(max_size=20) | st.text(alphabet="\n<pa/", max_size=8), size=st.integers(1, 5))
def test_a_string_is_streamed_and_comes_back_whole(value: str, size: int) -> None:
    if "</parameter>" in f"{value}</parameter"[:-1]:
        return
    text = f"<tool_call><function=f><parameter=a>\n{value}\n</parameter></function></tool_call>"
    parser = tool_parser_named("qwen3_coder")([tool(a={"type": "string"})])
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
    assert json.loads(joined(deltas)[1][0][1]) == {"a": value}


def test_a_long_string_does_not_wait_for_its_end() -> None:
    parser = tool_parser_named("glm45")([tool(a={"type": "string"})])
    parser.push("<tool_call>f<arg_key>a</arg_key><arg_value>")
    assert parser.push('so "') == [ToolCallArguments(0, 'so \\"')]
