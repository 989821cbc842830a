"""The text of an answer does not depend on how its tokens arrive."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.text.tool_parsers.base import ContentDelta, Delta, ToolCallArguments, ToolCallStart
from service.answer_text import AnswerText
from tests.service.chat_client import ids_of, served_model

CALL = '<tool_call>{"name": "f", "arguments": {"a": [1, "é"]}}</tool_call>'


def answer_text(stop: tuple[str, ...] = (), *, has_tools: bool = False) -> AnswerText:
    served = served_model()
    parser = served.new_tool_parser() if has_tools and served.new_tool_parser else None
    numbers = itertools.count()
    return AnswerText(served.tokenizer, stop, parser, lambda: f"call_{next(numbers)}")


def run(text: AnswerText, pieces: list[list[int]]) -> list[Delta]:
    deltas = [delta for piece in pieces for delta in text.push(piece)]
    return deltas + text.finish()


def joined(deltas: list[Delta]) -> list[tuple[str, str]]:
    """What a reader has at the end: content, and each call with its arguments."""
    content = ""
    calls: list[tuple[str, str]] = []
    for delta in deltas:
        match delta:
            case ContentDelta(text):
                assert text
                content += text
            case ToolCallStart(index, name, call_id):
                assert index == len(calls)
                assert call_id == f"call_{index}"
                calls.append((name, ""))
            case ToolCallArguments(index, text):
                calls[index] = (calls[index][0], calls[index][1] + text)
    return [("content", content), *calls]


def split(ids: list[int], cuts: list[int]) -> list[list[int]]:
    places = sorted({cut % (len(ids) + 1) for cut in cuts})
    return [ids[a:b] for a, b in itertools.pairwise([0, *places, len(ids)])]


any_ids = st.lists(st.integers(0, 358), max_size=60)
spoken = st.lists(
    st.sampled_from(
        [CALL, "Hello wörld", "🌍", "<tool_", '{"name": ', " ", "\n", "é", "stop", "st"]
    ),
    max_size=6,
).map(lambda parts: ids_of("".join(parts)))
stops = st.lists(
    st.sampled_from(["stop", "o", "wör", "🌍", "é🌍", "<tool_call>", "\n"]), max_size=3
)


@given(any_ids | spoken, stops, st.booleans(), st.lists(st.integers(0, 60)))
def test_any_split_of_the_tokens_gives_the_same_answer(
    ids: list[int], stop: list[str], has_tools: bool, cuts: list[int]
) -> None:
    whole, parts = (answer_text(tuple(stop), has_tools=has_tools) for _ in range(2))
    assert joined(run(whole, [ids])) == joined(run(parts, split(ids, cuts)))
    assert whole.num_tokens == parts.num_tokens
    assert whole.is_stopped == parts.is_stopped


@given(any_ids | spoken, stops)
def test_the_answer_is_one_decode_up_to_the_first_stop_string(
    ids: list[int], stop: list[str]
) -> None:
    text = answer_text(tuple(stop))
    ((_, content),) = joined(run(text, [[token_id] for token_id in ids]))
    decoded = served_model().tokenizer.decode(ids)
    ends = [decoded.find(each) + len(each) for each in stop if each in decoded]
    assert text.is_stopped == bool(ends)
    if ends:
        matched = max((s for s in stop if decoded[: min(ends)].endswith(s)), key=len)
        assert content == decoded[: min(ends)].removesuffix(matched)
    else:
        assert content == decoded


@given(spoken)
def test_no_piece_splits_a_character(ids: list[int]) -> None:
    text = answer_text()
    deltas = run(text, [[token_id] for token_id in ids])
    assert not any("\ufffd" in delta.text for delta in deltas if isinstance(delta, ContentDelta))


@pytest.mark.parametrize("has_tools", [False, True])
def test_half_a_character_at_the_end_is_not_lost(has_tools: bool) -> None:
    ids = ids_of("a🌍")[:-1]
    assert joined(run(answer_text(has_tools=has_tools), [ids])) == [("content", "a\ufffd")]


def test_nothing_follows_a_stop_string() -> None:
    text = answer_text(("stop",))
    assert text.push(ids_of("now stop here"))
    assert text.is_stopped
    assert text.num_tokens == len(ids_of("now stop"))
    assert text.push(ids_of("more")) == []
    assert text.finish() == []


def test_a_call_is_found_with_its_arguments() -> None:
    text = answer_text(has_tools=True)
    found = joined(run(text, [[token_id] for token_id in ids_of("Well. " + CALL)]))
    assert [name for name, _ in found] == ["content", "f"]
    assert json.loads(found[1][1]) == {"a": [1, "é"]}
    assert text.has_tool_calls


def test_a_call_that_is_cut_off_is_no_call() -> None:
    text = answer_text(has_tools=True)
    run(text, [ids_of('<tool_call>{"na')])
    assert not text.has_tool_calls
