"""The messages of the harmony format become reasoning and content, in any order and any split."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.reasoning_parsers.base import ReasoningDelta
from engine.text.reasoning_parsers.harmony import HarmonyParser
from engine.text.reasoning_parsers.select import reasoning_parser_for
from engine.text.templates.chat_template import ChatTemplate
from engine.text.tool_parsers.base import ContentDelta
from engine.text.tool_parsers.harmony import HarmonyToolParser
from tests.engine.text.reasoning_templates import GPT_OSS
from tests.engine.text.test_tool_parsers import joined

ARGUMENTS = '{"a": 1}'
CALL = f"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{ARGUMENTS}<|call|>"
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|>"
LOOK = "<|channel|>commentary<|message|>I look.<|end|>"
FINAL = "<|channel|>final<|message|>Five.<|return|>"
START = "<|start|>assistant"


def parse(*pieces: str, is_open: bool = False, keeps_calls: bool = False) -> tuple[str, str]:
    """Reasoning and content; checks that no delta is empty."""
    parser = HarmonyParser(is_open=is_open, keeps_calls=keeps_calls)
    deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
    assert all(delta.text for delta in deltas)
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    content = "".join(delta.text for delta in deltas if isinstance(delta, ContentDelta))
    return reasoning, content


TEXTS = [
    (THOUGHT + START + FINAL, "Hm.", "Five."),
    (THOUGHT + "\n" + START + FINAL, "Hm.", "Five."),
    (FINAL, "", "Five."),
    (f"{THOUGHT}{START}{THOUGHT}{START}{FINAL}", "Hm.\nHm.", "Five."),
    (f"{LOOK}{START}{THOUGHT}{START}{FINAL}", "Hm.", "I look.\nFive."),
    ("<|channel|>final <|constrain|>json<|message|>{}<|return|>", "", "{}"),
    ("<|channel|>analysis<|message|>a<|channel|>final<|message|>b", "a", "b"),
    ("<|message|>b<|return|>", "", "b"),
    # Calls, of which nobody wants to know.
    (THOUGHT + START + CALL, "Hm.", ARGUMENTS),
    (f" to=functions.f<|channel|>commentary json<|message|>{ARGUMENTS}", "", ARGUMENTS),
    ("<|channel|>analysis to=functions.f code<|message|>{}<|call|>", "", "{}"),
    ("<|channel|>analysis to=python code<|message|>1+1<|call|>", "1+1", ""),
    ("<|channel|>commentary to=browser.open<|message|>x<|call|>", "x", ""),
    # Cut off.
    ("<|channel|>analysis<|message|>Hm. <|en", "Hm. <|en", ""),
    ("<|channel|>analysis<|message|>Hm.\n", "Hm.\n", ""),
    ("<|channel|>final<|message|>Fi", "", "Fi"),
    (f"{THOUGHT}{START}<|channel|>fin", "Hm.", ""),
    (f"{THOUGHT}{START}<|channel|>commentary to=functions.f <|constrain|>json", "Hm.", ""),
    (f"{THOUGHT}<|start|>", "Hm.", ""),
    (f"<|channel|>commentary{FINAL}", "", "Five."),
    ("<|channel|>analysis<|end|>" + START + FINAL, "", "Five."),
    # No marks, or none that begin a message.
    ("Five.", "", "Five."),
    (" \n Five.", "", " \n Five."),
    (" tomorrow", "", " tomorrow"),
    ("to=x is it", "", "to=x is it"),
    ("", "", ""),
    ("<|channel|>other<|message|>x", "", "<|channel|>other<|message|>x"),
    ("<|channel|>finale<|message|>x", "", "<|channel|>finale<|message|>x"),
    ("<|channel|>final < x<|message|>x", "", "<|channel|>final < x<|message|>x"),
    ("<|channel|>final answer: 5<|return|>", "", "<|channel|>final answer: 5"),
    ("<|channel|>finally<|return|>", "", "<|channel|>finally"),
    (
        "<|channel|>final<|message|>`<|channel|>` and `<|message|>` are marks, <|x|> is none",
        "",
        "`<|channel|>` and `<|message|>` are marks, <|x|> is none",
    ),
    ("<|channel|>final" + " " * 2000 + "<|message|>x", "", "<|channel|>final" + " " * 2000 + "<|message|>x"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reasoning", "content"), TEXTS)
def test_messages_become_reasoning_and_content_however_they_are_split(
    text: str, reasoning: str, content: str
) -> None:
    expected = (reasoning, content)
    assert parse(text) == expected
    assert parse(*text) == expected
    for place in range(len(text)):
        assert parse(text[:place], text[place:]) == expected


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("Hm.<|end|>" + START + FINAL, "Hm.", "Five."),
        ("Hm.<|end|>" + START + THOUGHT, "Hm.\nHm.", ""),
        ("<|end|>" + START + THOUGHT, "Hm.", ""),
        ("to=x", "to=x", ""),
    ],
)
def test_a_prompt_that_opened_the_reasoning_lets_it_go_on(
    text: str, reasoning: str, content: str
) -> None:
    assert parse(text, is_open=True) == (reasoning, content)
    assert parse(*text, is_open=True) == (reasoning, content)


@pytest.mark.parametrize(
    ("text", "reasoning", "content", "num_calls"),
    [
        (CALL, "", "", 1),
        (f"{THOUGHT}{START}{CALL}", "Hm.", "", 1),
        (f"{LOOK}{START}{THOUGHT}{START}{CALL}", "Hm.", "I look.", 1),
        (f"{THOUGHT}{START}{CALL}{START}{THOUGHT}{START}{CALL}", "Hm.\nHm.", "", 2),
        (f"{LOOK}{START}{CALL}{START}{FINAL}", "", "I look.\nFive.", 1),
        (f"{THOUGHT}{START} to=functions.f{CALL.replace(' to=functions.f', '')}", "Hm.", "", 1),
        (f" to=functions.f<|channel|>commentary json<|message|>{ARGUMENTS}", "", "", 1),
    ],
)
def test_a_tool_parser_behind_it_finds_the_calls(
    text: str, reasoning: str, content: str, num_calls: int
) -> None:
    for pieces in ([text], list(text)):
        thought, passed_on = parse(*pieces, keeps_calls=True)
        parser = HarmonyToolParser()
        found, calls = joined(parser.push(passed_on) + parser.finish())
        assert (thought, found, calls) == (reasoning, content, [("f", ARGUMENTS)] * num_calls)


MARKS = [
    "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>",
]  # fmt: skip
FRAGMENTS = [
    *MARKS, START, "analysis", "final", "commentary", " to=functions.f", " to=python", " json", "to=",
    THOUGHT, CALL, FINAL, "<|", "<|chan", "|>", "<", " ", "\n", "x", "你",
]  # fmt: skip


@settings(max_examples=2000, deadline=None)
@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join),
    st.sets(st.integers(0, 200), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_nothing_raises_and_the_split_does_not_matter(
    text: str, cuts: set[int], is_open: bool, keeps_calls: bool
) -> None:
    places = sorted(cut for cut in cuts if cut < len(text))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *places, len(text)])]
    expected = parse(text, is_open=is_open, keeps_calls=keeps_calls)
    assert parse(*pieces, is_open=is_open, keeps_calls=keeps_calls) == expected
    assert parse(*text, is_open=is_open, keeps_calls=keeps_calls) == expected


@given(st.text())
def test_text_without_marks_is_content(text: str) -> None:
    assert parse(*text) == ("", text)


def test_it_streams_and_only_what_may_be_a_mark_or_a_header_waits() -> None:
    parser = HarmonyParser(is_open=False)
    told = []
    for piece, deltas in [
        ("<|channel|>", []),
        ("analysis", []),
        ("<|message|>", []),
        ("Let me", [ReasoningDelta("Let me")]),
        (" see <|en", [ReasoningDelta(" see ")]),
        ("s.", [ReasoningDelta("<|ens.")]),
        ("<|end|>", []),
        ("<|start|>assistant<|channel|>final<|message|>", []),
        ("Five", [ContentDelta("Five")]),
    ]:
        assert parser.push(piece) == deltas
        told.append(parser.is_reasoning)
    assert told == [False, False, True, True, True, True, False, False, False]
    assert parser.finish() == []


NEAR = [
    "<", "<|", "<|channel|", "<|en", "<|message", "x", " ", " to=", "<|channel|>ana", START + "<", THOUGHT, FINAL,
    *MARKS, START, "<|end|>" + " " * 500 + START + "<<|message|>", "<|channel|>final" + " x" * 450 + "<|end|>",
]  # fmt: skip


@pytest.mark.parametrize("near", NEAR)
def test_a_megabyte_of_near_matches_is_quick(near: str) -> None:
    text = near * (1_000_000 // len(near))
    # Whole marks cost some microseconds each.
    limit = 0.1 + text.count("|>") * 10e-6
    assert any(_seconds([text]) < limit for _ in range(3))


@pytest.mark.parametrize("near", NEAR)
def test_single_characters_of_near_matches_cost_linear_time(near: str) -> None:
    text = near * (100_000 // len(near))
    short = min(_seconds(text[: len(text) // 4]) for _ in range(3))
    assert any(_seconds(text) < 10 * short for _ in range(3))


def _seconds(pieces: list[str] | str) -> float:
    parser = HarmonyParser(is_open=False)
    begin = time.thread_time()
    for piece in pieces:
        parser.push(piece)
    parser.finish()
    return time.thread_time() - begin


def test_the_prompt_says_whether_the_reasoning_has_begun() -> None:
    form = reasoning_parser_for(GPT_OSS)
    assert form is not None
    template = ChatTemplate({"default": GPT_OSS}, {})
    prompt = template.render([{"role": "user", "content": "2+3?"}])
    assert prompt.endswith("<|end|><|start|>assistant")
    assert not form.is_opened_by(prompt)
    assert form.is_opened_by(prompt + "<|channel|>analysis<|message|>")
    assert not form.is_opened_by(prompt + "<|channel|>final<|message|>")
