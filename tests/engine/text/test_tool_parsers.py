"""Calls come out of streamed text whole, and everything else stays content."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.tool_parsers.base import ContentDelta, Delta, ToolCallArguments, ToolCallStart
from engine.text.tool_parsers.hermes import HermesToolParser
from engine.text.tool_parsers.json_scanner import JsonScanner
from engine.text.tool_parsers.select import tool_parser_for

SIMPLE = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'


def parse(*pieces: str) -> list[Delta]:
    parser = HermesToolParser()
    deltas = [delta for piece in pieces for delta in parser.push(piece)]
    return deltas + parser.finish()


def joined(deltas: list[Delta]) -> tuple[str, list[tuple[str, str]]]:
    """Content, and (name, arguments) of each call; checks the order of the deltas."""
    content, calls = "", []
    for delta in deltas:
        match delta:
            case ContentDelta(text):
                assert text
                content += text
            case ToolCallStart(index, name):
                assert index == len(calls)
                calls.append((name, ""))
            case ToolCallArguments(index, text):
                assert index == len(calls) - 1
                calls[-1] = (calls[-1][0], calls[-1][1] + text)
    return content, calls


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("hello", "hello", []),
        ("  hello \n", "  hello \n", []),
        (" \n", " \n", []),
        (SIMPLE, "", [("f", '{"a": 1}')]),
        (f"\n{SIMPLE}\n{SIMPLE} ", "", [("f", '{"a": 1}')] * 2),
        (f"Let me.\n{SIMPLE}", "Let me.\n", [("f", '{"a": 1}')]),
        (f"{SIMPLE}\nDone.", "\nDone.", [("f", '{"a": 1}')]),
        ('<tool_call>\n{"name":"f","arguments":{}}\n</tool_call>', "", [("f", "{}")]),
        ('<tool_call>{"name": "f", "parameters": {"b": []}}</tool_call>', "", [("f", '{"b": []}')]),
        ('<tool_call>{"arguments": {"a": 2}, "name": "g"}</tool_call>', "", [("g", '{"a": 2}')]),
        ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [("f", '{"a": 1}')]),
        ('<tool_call>{"name": "f"}</tool_call>', "", [("f", "{}")]),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}, "id": "7"}</tool_call>x', "x", [("f", '{"a": 1}')]),
        ('<tool_call>{"name": "f", "arguments": {"a": "</tool_call>{"}}</tool_call>', "", [("f", '{"a": "</tool_call>{"}')]),
        ('<tool_call>{"name": "\\u0066\\"", "arguments": {}}</tool_call>', "", [('f"', "{}")]),
        # Forgiven: the last brace, the closing tag, or both are missing.
        ('<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>', "", [("f", '{"a": 1}')]),
        (f'<tool_call>{{"name": "f", "arguments": {{}}}}\n{SIMPLE}', "", [("f", "{}"), ("f", '{"a": 1}')]),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_', "", [("f", '{"a": 1}')]),
        # Malformed before the start: content, to the last character.
        ("<tool_call>no</tool_call>", "<tool_call>no</tool_call>", []),
        ('<tool_call>{"name": "", "arguments": {}}</tool_call>', '<tool_call>{"name": "", "arguments": {}}</tool_call>', []),
        ('<tool_call>{"name": 1, "arguments": {}}</tool_call>', '<tool_call>{"name": 1, "arguments": {}}</tool_call>', []),
        ('<tool_call>{"name": "f", "arguments": 3}</tool_call>', '<tool_call>{"name": "f", "arguments": 3}</tool_call>', []),
        ('<tool_call>["f"]</tool_call>', '<tool_call>["f"]</tool_call>', []),
        ('a <tool_call>{"name": "f', 'a <tool_call>{"name": "f', []),
        (f"<tool_call><tool_call>{SIMPLE}", "<tool_call><tool_call>", [("f", '{"a": 1}')]),
        ("a <tool_cal", "a <tool_cal", []),
        # Broken or cut after the start: what went out stays, the rest is content.
        ('<tool_call>{"name": "f", "arguments": {"a": x}}</tool_call>', "}}</tool_call>", [("f", '{"a": x')]),
        ('<tool_call>{"name": "f", "arguments": {"a": "cut', "", [("f", '{"a": "cut')]),
        ('<tool_call>{"name": "f", "arguments": {}, bad', ", bad", [("f", "{}")]),
    ],
)  # fmt: skip
def test_texts_become_content_and_calls_however_they_are_split(
    text: str, content: str, calls: list[tuple[str, str]]
) -> None:
    assert joined(parse(text)) == (content, calls)
    assert joined(parse(*text)) == (content, calls)
    for place in range(len(text)):
        assert joined(parse(text[:place], text[place:])) == (content, calls)


FRAGMENTS = [
    "<tool_call>", "</tool_call>", "<tool", "_call>", "</", "<", ">", '{"name": "f", ', '"arguments": ',
    '{"a": 1}', "{", "}", "[", "]", '"', "\\", "\\u12", ",", ":", " ", "\n", "x", "12", "-", "true", "é",
    '{"arguments": {}, "name": "g"}',
]  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from([*FRAGMENTS, SIMPLE]), max_size=14), st.integers(1, 7))
def test_nothing_is_lost_nothing_raises_and_the_split_does_not_matter(
    fragments: list[str], size: int
) -> None:
    text = "".join(fragments)
    content, calls = joined(parse(text))
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert joined(parse(*pieces)) == (content, calls)
    if not calls:
        assert content == text
    for name, arguments in calls:
        assert name in ("f", "g")
        assert arguments in text


@given(
    st.dictionaries(st.text(max_size=6), st.text(max_size=12) | st.lists(st.floats()), max_size=4)
)
def test_arguments_are_the_models_own_json_text(arguments: dict[str, object]) -> None:
    for ascii_only in (True, False):
        raw = json.dumps(arguments, ensure_ascii=ascii_only, allow_nan=True)
        if "NaN" in raw or "Infinity" in raw:
            continue
        text = f'<tool_call>{{"name": "f", "arguments": {raw}}}</tool_call>'
        assert joined(parse(*text)) == ("", [("f", raw)])


def test_content_before_a_call_and_arguments_come_at_once() -> None:
    parser = HermesToolParser()
    assert parser.push("Hi <") == [ContentDelta("Hi ")]
    assert parser.push("b>") == [ContentDelta("<b>")]
    assert parser.push('<tool_call>{"name": "f", "arguments": ') == []
    assert parser.push('{"a') == [ToolCallStart(0, "f"), ToolCallArguments(0, '{"a')]
    assert parser.push('": 1}}') == [ToolCallArguments(0, '": 1}')]
    assert parser.push("</tool_call>") == []


@pytest.mark.parametrize(
    "near",
    ["<tool_cal", "<tool_call>", "<tool_call>{", '<tool_call>{"name": "', "<", '<tool_call>{"name": "a",', " ", '<tool_call>{"a": ["', SIMPLE[:-13] + " "],
)  # fmt: skip
def test_a_megabyte_of_near_matches_is_quick(near: str) -> None:
    text = near * (1_000_000 // len(near))
    best = min(_seconds(text) for _ in range(3))
    # 0.1 s is the promise for text without calls; each complete call costs some microseconds.
    assert best < (0.1 if len(near) != len(SIMPLE) - 12 else 1.0)


def _seconds(text: str) -> float:
    begin = time.thread_time()
    parse(text)
    return time.thread_time() - begin


def test_small_pieces_of_hostile_text_stay_linear() -> None:
    for text in ("<tool_call>" + " " * 100_000, SIMPLE[:-12] + " " * 100_000, " " * 100_000):
        begin = time.thread_time()
        parse(*text)
        assert time.thread_time() - begin < 2.0


@settings(max_examples=800, deadline=None)
@given(st.text(alphabet='{}[]",:\\u0a1-e.tru fals\n', max_size=24), st.integers(1, 5))
def test_the_scanner_agrees_with_json(text: str, size: int) -> None:
    text = "{" + text
    scanner, place = JsonScanner(), 0
    for begin in range(0, len(text), size):
        piece = text[begin : begin + size]
        place = begin + scanner.scan(piece)
        if scanner.is_done or scanner.is_failed:
            break
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        assert not scanner.is_done
    else:
        assert scanner.is_done
        assert place == end


def test_depth_is_bounded() -> None:
    deep = '<tool_call>{"name": "f", "arguments": {"a": ' + "[" * 100_000
    content, calls = joined(parse(deep))
    assert len(calls[0][1]) < 200
    assert calls[0][1] + content == deep[deep.index('{"a"') :]


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("<tool_call>\n{\"name\": <f>, \"arguments\": <args>}\n</tool_call>", True),
        ('<tool_call>{\\"name\\": x, \\"arguments\\": y}', True),
        ("<tool_call>\n<function=f>\n<parameter=a> arguments", False),
        ("<tool_call>f\n<arg_key>k</arg_key> arguments", False),
        ("[TOOL_CALLS] arguments", False),
        ("{{ messages }}", False),
    ],
)  # fmt: skip
def test_the_template_says_which_parser_fits(source: str, is_found: bool) -> None:
    form = tool_parser_for(source)
    assert (form is not None and form.name == "hermes") is is_found
