"""Reasoning comes out of streamed text apart from the answer, and not a piece of a tag with it."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.reasoning_parsers.base import ReasoningDelta
from engine.text.reasoning_parsers.select import (
    REASONING_PARSER_NAMES,
    reasoning_parser_for,
    reasoning_parser_named,
)
from engine.text.reasoning_parsers.think import ThinkParser
from engine.text.templates.chat_template import ChatTemplate
from engine.text.tool_parsers.base import ContentDelta
from tests.engine.text.reasoning_templates import ALL


def parse(*pieces: str, is_open: bool = False) -> tuple[str, str]:
    """Reasoning and content; checks the order of the deltas and that none is empty."""
    parser = ThinkParser(is_open=is_open)
    deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
    kinds = [type(delta) for delta in deltas]
    assert kinds == sorted(kinds, key=lambda kind: kind is ContentDelta)
    assert all(delta.text for delta in deltas)
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    content = "".join(delta.text for delta in deltas if isinstance(delta, ContentDelta))
    return reasoning, content


@pytest.mark.parametrize(
    ("is_open", "text", "reasoning", "content"),
    [
        (False, "<think>\nhm\n</think>\n\nHi.", "hm", "Hi."),
        (False, "<think>hm</think>Hi.", "hm", "Hi."),
        (False, " \n<think>hm</think>Hi.", "hm", "Hi."),
        (False, "<think>\n\n</think>\n\nHi.", "", "Hi."),
        (False, "<think></think>", "", ""),
        (False, "<think>\n hm \n\n more \n</think>\n Hi.\n", " hm \n\n more ", " Hi.\n"),
        (False, "Hi.", "", "Hi."),
        (False, " \n Hi. <think>no</think>", "", " \n Hi. <think>no</think>"),
        (False, "</think>Hi.", "", "</think>Hi."),
        (False, "<thin", "", "<thin"),
        (False, "<thinking>", "", "<thinking>"),
        (False, " \n", "", " \n"),
        (False, "", "", ""),
        (False, "<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        (False, "<think><think>a</think>b", "<think>a", "b"),
        (False, "<think>\ncut off\n</thi", "cut off\n</thi", ""),
        (False, "<think>\ncut off\n\n", "cut off\n\n", ""),
        (False, "<think>\n\n", "", ""),
        (False, "<think>1 < 2 </ think> </thin></think>ok", "1 < 2 </ think> </thin>", "ok"),
        (True, "hm\n</think>\n\nHi.", "hm", "Hi."),
        (True, "\nhm</think>Hi.", "hm", "Hi."),
        (True, "<think>\nhm\n</think>\nHi.", "hm", "Hi."),
        (True, "\n<think>\nhm</think>Hi.", "hm", "Hi."),
        (True, " <think>hm</think>Hi.", " <think>hm", "Hi."),
        (True, "</think>Hi.", "", "Hi."),
        (True, "<thi", "<thi", ""),
        (True, "<</think>Hi", "<", "Hi"),
        (True, "no end", "no end", ""),
        (True, "a\n\n</think", "a\n\n</think", ""),
        (True, "a</think></think>b", "a", "</think>b"),
    ],
)  # fmt: skip
def test_texts_become_reasoning_and_content_however_they_are_split(
    is_open: bool, text: str, reasoning: str, content: str
) -> None:
    expected = (reasoning, content)
    assert parse(text, is_open=is_open) == expected
    assert parse(*text, is_open=is_open) == expected
    for place in range(len(text)):
        assert parse(text[:place], text[place:], is_open=is_open) == expected


def by_the_book(text: str, is_open: bool) -> tuple[str, str]:
    """What the rules say of a whole text."""
    rest = text.lstrip("\n") if is_open else text.lstrip()
    if rest.startswith("<think>"):
        rest = rest.removeprefix("<think>").lstrip("\n")
    elif not is_open:
        return "", text
    reasoning, closing, content = rest.partition("</think>")
    return (reasoning.rstrip("\n"), content.lstrip("\n")) if closing else (reasoning, "")


FRAGMENTS = ["<think>", "</think>", "<think", "</", "th", "ink>", "<", ">", "\n", " ", "x", "你"]


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=10), st.integers(1, 9), st.booleans())
def test_the_rules_hold_for_any_text_and_any_split(
    fragments: list[str], size: int, is_open: bool
) -> None:
    text = "".join(fragments)
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert parse(*pieces, is_open=is_open) == by_the_book(text, is_open)


@given(st.text(), st.text(min_size=1))
def test_what_a_template_writes_comes_back(reasoning: str, content: str) -> None:
    reasoning, content = reasoning.strip("\n"), content.lstrip("\n")
    if "</think>" in reasoning:
        return
    text = f"<think>\n{reasoning}\n</think>\n\n{content}"
    assert parse(*text) == (reasoning, content)


def test_reasoning_streams_and_only_what_may_be_a_tag_waits() -> None:
    parser = ThinkParser(is_open=False)
    assert parser.push("<thi") == []
    assert parser.push("nk>\nLet") == [ReasoningDelta("Let")]
    assert parser.push(" me\n") == [ReasoningDelta(" me")]
    assert parser.push("\nsee </thi") == [ReasoningDelta("\n\nsee ")]
    assert parser.push("s.") == [ReasoningDelta("</this.")]
    assert parser.push("\n</think>") == []
    assert parser.push("\n\n") == []
    assert parser.push("4.\n") == [ContentDelta("4.\n")]
    assert parser.finish() == []


def test_it_knows_whether_it_is_inside_the_reasoning() -> None:
    parser = ThinkParser(is_open=False)
    told = []
    for piece in (" ", "<think>", "\n", "a", "</think", ">", "\n", "b"):
        told.append(parser.is_reasoning)
        parser.push(piece)
    assert told == [False, False, True, True, True, True, False, False]
    assert ThinkParser(is_open=True).is_reasoning
    parser = ThinkParser(is_open=False)
    parser.push("Hi")
    assert not parser.is_reasoning


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen3", "<think>\na\n</think>\n\nb"),
        ("mistral", "[THINK]a[/THINK]b"),
        ("seed_oss", "<seed:think>a</seed:think>b"),
        ("gemma4", "<|channel>thought\na\n<channel|>b"),
        ("granite", "Here is my thought process:\n\na\n\nHere is my response:\n\nb"),
    ],
)
def test_other_tags_are_as_good(name: str, text: str) -> None:
    parser = reasoning_parser_named(name).new(is_open=False)
    assert parser.push(text) == [ReasoningDelta("a"), ContentDelta("b")]


def test_a_tag_is_not_empty() -> None:
    with pytest.raises(ValueError, match="empty"):
        ThinkParser("", "x", is_open=True)


NEAR = ["</thin", "<thin", "\n", " ", "<", "\n</think", "</think> ", "x\n"]


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_megabyte_of_near_matches_is_quick(near: str, is_open: bool) -> None:
    text = near * (1_000_000 // len(near))
    assert min(_seconds([text], is_open) for _ in range(3)) < 0.1


@pytest.mark.parametrize("near", NEAR)
def test_single_characters_of_near_matches_cost_linear_time(near: str) -> None:
    text = near * (200_000 // len(near))
    short = min(_seconds(text[: len(text) // 4], True) for _ in range(3))
    assert min(_seconds(text, True) for _ in range(3)) < 10 * short


def _seconds(pieces: list[str] | str, is_open: bool) -> float:
    parser = ThinkParser(is_open=is_open)
    begin = time.thread_time()
    for piece in pieces:
        parser.push(piece)
    parser.finish()
    return time.thread_time() - begin


CHAT = [{"role": "user", "content": "2+2?"}]


@pytest.mark.parametrize(
    ("name", "kwargs", "is_opened"),
    [
        ("qwen3", {}, False),
        ("qwen3", {"enable_thinking": False}, False),
        ("deepseek_r1", {}, True),
        ("smollm3", {}, False),
        ("smollm3", {"enable_thinking": False}, False),
    ],
)
def test_the_prompt_says_whether_the_reasoning_has_begun(
    name: str, kwargs: dict[str, object], is_opened: bool
) -> None:
    form = reasoning_parser_for(ALL[name])
    assert form is not None
    template = ChatTemplate({"default": ALL[name]}, {"bos_token": "<s>"})
    prompt = template.render(CHAT, **kwargs)
    assert form.is_opened_by(prompt) is is_opened
    answer = "hm\n</think>\n\n4" if is_opened else "<think>\nhm\n</think>\n\n4"
    assert form.new(is_opened).push(answer) == [ReasoningDelta("hm"), ContentDelta("4")]


@pytest.mark.parametrize(
    ("source", "is_known"),
    [
        ("{{ messages[0].content.split('</think>')[-1] }}", True),
        ("{{ 'assistant: <think>' }}", True),
        ("{{ messages }} /think thinking", False),
        ("{{ '<|start|>assistant<|message|>' }}", False),
    ],
)
def test_a_template_that_knows_the_tags_belongs_to_a_model_that_thinks(
    source: str, is_known: bool
) -> None:
    assert (reasoning_parser_for(source) is not None) is is_known


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (ALL["qwen3"], "think"),
        (ALL["gpt_oss"], "openai_gptoss"),
        ("thinking process must follow the template below:[THINK]Your thoughts[/THINK]", "mistral"),
        ("{%- set think_begin_token = '<seed:think>' -%}", "seed_oss"),
        ("{{- '<|turn>model\n<|channel>thought\n<channel|>' -}}", "gemma4"),
        ("Write your thoughts after 'Here is my thought process:' and", "granite"),
    ],
)
def test_a_template_shows_its_format(source: str, name: str) -> None:
    form = reasoning_parser_for(source)
    assert form is not None
    assert form.name == name


def test_formats_have_the_names_that_vllm_gives_them() -> None:
    forms = {name: reasoning_parser_named(name).name for name in REASONING_PARSER_NAMES}
    assert {forms[name] for name in ("deepseek_r1", "qwen3", "glm45")} == {"think"}
    for name in ("mistral", "openai_gptoss", "seed_oss", "granite", "gemma4"):
        assert forms[name] == name
    with pytest.raises(ValueError, match=r"deepseek_r1, .*think"):
        reasoning_parser_named("none")


def test_white_space_behind_the_tag_does_not_close_it() -> None:
    form = reasoning_parser_for("<think>")
    assert form is not None
    assert form.is_opened_by("user: x\nassistant: <think>\n\n ")
    assert not form.is_opened_by("<think>\n</think>\n")
    assert not form.is_opened_by("")
