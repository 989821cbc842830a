"""The text of a choice does not depend on how its tokens arrive."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import TokenLogprobs
from engine.text.reasoning_parsers.select import reasoning_parser_for, reasoning_parser_named
from engine.text.tool_parsers.select import tool_parser_named
from service.choice_text import ChoiceText
from service.deltas import (
    ChoiceDelta,
    ContentDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from service.held_scores import HeldScores
from tests.service.chat_client import ids_of, served_model

if TYPE_CHECKING:
    from engine.text.reasoning_parsers.base import ReasoningParser
    from engine.text.tokenizer import Tokenizer

CALL = '<tool_call>{"name": "f", "arguments": {"a": [1, "é"]}}</tool_call>'


def choice_text(
    stop: tuple[str, ...] = (),
    *,
    has_tools: bool = False,
    has_scores: bool = False,
    is_calls_only: bool = False,
    reasoning_parser: ReasoningParser | None = None,
    skip_special_tokens: bool = True,
) -> ChoiceText:
    served = served_model()
    numbers = itertools.count()
    return ChoiceText(
        0,
        served.tokenizer,
        lambda: f"call_{next(numbers)}",
        stop=stop,
        skip_special_tokens=skip_special_tokens,
        reasoning_parser=reasoning_parser,
        tool_parser=served.tool_format() if has_tools and served.tool_format else None,
        is_calls_only=is_calls_only,
        scores=HeldScores(served.tokenizer) if has_scores else None,
    )


def thinker(*, is_open: bool = False) -> ReasoningParser:
    format_ = reasoning_parser_for("{{ '<think>' }}{{ '</think>' }}")
    assert format_ is not None
    return format_.new(is_open)


def harmony_text(
    stop: tuple[str, ...] = (),
    *,
    has_tools: bool = True,
    has_scores: bool = False,
    is_one_call: bool = False,
    tokenizer: Tokenizer | None = None,
) -> ChoiceText:
    """Of a model that writes the harmony format, whose marks are plain text here."""
    tokenizer = tokenizer or served_model().tokenizer
    numbers = itertools.count()
    return ChoiceText(
        0,
        tokenizer,
        lambda: f"call_{next(numbers)}",
        stop=stop,
        reasoning_parser=reasoning_parser_named("openai_gptoss").new(False, keeps_calls=has_tools),
        tool_parser=tool_parser_named("openai")() if has_tools else None,
        is_one_call=is_one_call,
        scores=HeldScores(tokenizer) if has_scores else None,
    )


def run(text: ChoiceText, pieces: list[list[int]]) -> list[ChoiceDelta]:
    deltas = [
        delta
        for piece in pieces
        for delta in text.push(piece, [TokenLogprobs(token_id, -1.0) for token_id in piece])
    ]
    return deltas + text.finish()


def joined(deltas: list[ChoiceDelta]) -> list[tuple[str, str]]:
    """What a reader has at the end: content, and each call with its arguments."""
    content = ""
    calls: list[tuple[str, str]] = []
    for each in deltas:
        match each.delta:
            case ContentDelta(text):
                assert text or each.scores
                content += text
            case ToolCallStart(index, name, call_id):
                assert index == len(calls)
                assert call_id == f"call_{index}"
                calls.append((name, ""))
            case ToolCallArguments(index, text):
                calls[index] = (calls[index][0], calls[index][1] + text)
    return [("content", content), *calls]


def reasoning_of(deltas: list[ChoiceDelta]) -> str:
    return "".join(each.delta.text for each in deltas if isinstance(each.delta, ReasoningDelta))


def tokens_of(deltas: list[ChoiceDelta]) -> list[bytes]:
    """The tokens whose scores came out."""
    return [score.token for each in deltas for score in each.scores]


def split(ids: list[int], cuts: list[int]) -> list[list[int]]:
    places = sorted({cut % (len(ids) + 1) for cut in cuts})
    return [ids[a:b] for a, b in itertools.pairwise([0, *places, len(ids)])]


any_ids = st.lists(st.integers(0, 358), max_size=60)
spoken = st.lists(
    st.sampled_from(
        [
            CALL,
            "<think>",
            "</think>",
            "Hello wörld",
            "🌍",
            "<tool_",
            '{"name": ',
            " ",
            "\n",
            "é",
            "stop",
            "st",
        ]
    ),
    max_size=6,
).map(lambda parts: ids_of("".join(parts)))
stops = st.lists(
    st.sampled_from(["stop", "o", "wör", "🌍", "é🌍", "<tool_call>", "\n"]), max_size=3
)


@given(any_ids | spoken, stops, st.lists(st.integers(0, 60)), *[st.booleans()] * 4)
def test_any_split_of_the_tokens_gives_the_same_answer(
    ids: list[int],
    stop: list[str],
    cuts: list[int],
    has_tools: bool,
    has_scores: bool,
    thinks: bool,
    is_open: bool,
) -> None:
    whole, parts = (
        choice_text(
            tuple(stop),
            has_tools=has_tools,
            has_scores=has_scores,
            reasoning_parser=thinker(is_open=is_open) if thinks else None,
        )
        for _ in range(2)
    )
    of_whole, of_parts = run(whole, [ids]), run(parts, split(ids, cuts))
    assert joined(of_whole) == joined(of_parts)
    assert reasoning_of(of_whole) == reasoning_of(of_parts)
    assert tokens_of(of_whole) == tokens_of(of_parts)
    assert whole.num_tokens == parts.num_tokens
    assert whole.num_reasoning_tokens == parts.num_reasoning_tokens
    assert whole.is_stopped == parts.is_stopped


HARMONY_CALL = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
HARMONY_THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|>"
messages = st.lists(
    st.sampled_from(
        [
            HARMONY_CALL,
            HARMONY_THOUGHT,
            "<|channel|>commentary<|message|>I look.<|end|>",
            "<|channel|>final<|message|>wörld<|return|>",
            "<|start|>assistant",
            "<|channel|>",
            "<|",
            "stop",
            "🌍",
            " ",
        ]
    ),
    max_size=8,
).map(lambda parts: ids_of("".join(parts)))


@given(messages, stops, st.lists(st.integers(0, 200)), *[st.booleans()] * 3)
def test_any_split_of_an_answer_in_messages_gives_the_same(
    ids: list[int],
    stop: list[str],
    cuts: list[int],
    has_tools: bool,
    has_scores: bool,
    is_one_call: bool,
) -> None:
    whole, parts = (
        harmony_text(
            tuple(stop), has_tools=has_tools, has_scores=has_scores, is_one_call=is_one_call
        )
        for _ in range(2)
    )
    of_whole, of_parts = run(whole, [ids]), run(parts, split(ids, cuts))
    assert joined(of_whole) == joined(of_parts)
    assert reasoning_of(of_whole) == reasoning_of(of_parts)
    assert tokens_of(of_whole) == tokens_of(of_parts)
    assert whole.num_tokens == parts.num_tokens
    assert whole.num_reasoning_tokens == parts.num_reasoning_tokens
    assert whole.is_stopped == parts.is_stopped


@given(any_ids | spoken, stops)
def test_the_answer_is_one_decode_up_to_the_first_stop_string(
    ids: list[int], stop: list[str]
) -> None:
    text = choice_text(tuple(stop))
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
    text = choice_text()
    deltas = run(text, [[token_id] for token_id in ids])
    assert not any("\ufffd" in text for _, text in joined(deltas))


@pytest.mark.parametrize("has_tools", [False, True])
def test_half_a_character_at_the_end_is_not_lost(has_tools: bool) -> None:
    ids = ids_of("a🌍")[:-1]
    assert joined(run(choice_text(has_tools=has_tools), [ids])) == [("content", "a\ufffd")]


def test_nothing_follows_a_stop_string() -> None:
    text = choice_text(("stop",))
    assert text.push(ids_of("now stop here"))
    assert text.is_stopped
    assert text.num_tokens == len(ids_of("now stop"))
    assert text.push(ids_of("more")) == []
    assert text.finish() == []


def test_a_call_is_found_with_its_arguments() -> None:
    text = choice_text(has_tools=True)
    found = joined(run(text, [[token_id] for token_id in ids_of("Well. " + CALL)]))
    assert [name for name, _ in found] == ["content", "f"]
    assert json.loads(found[1][1]) == {"a": [1, "é"]}
    assert text.has_tool_calls


def test_a_call_that_is_cut_off_is_no_call() -> None:
    text = choice_text(has_tools=True)
    run(text, [ids_of('<tool_call>{"na')])
    assert not text.has_tool_calls


@pytest.mark.parametrize("text", ["", "<tool", '<tool_call>{"na', f"Hm. {CALL} Hm."])
@pytest.mark.parametrize("has_scores", [False, True])
def test_what_must_be_calls_has_no_content_even_if_it_is_cut(text: str, has_scores: bool) -> None:
    choice = choice_text(has_tools=True, has_scores=has_scores, is_calls_only=True)
    ids = ids_of(text)
    deltas = run(choice, [[token_id] for token_id in ids])
    assert [name for name, said in joined(deltas) if said] == ["f"] * (CALL in text)
    assert len(tokens_of(deltas)) == len(ids) * has_scores


@pytest.mark.parametrize(
    ("stop", "said", "is_whole"),
    [
        (("é",), CALL, False),
        (("arguments",), CALL, False),
        (("}}",), CALL, False),
        (("</tool_call>",), CALL, True),
        (("Done",), f"{CALL} Done", True),
        (("second",), f'{CALL}<tool_call>{{"name": "f", "arguments": {{"a": "second"}}}}', False),
    ],
)
def test_a_stop_string_inside_a_call_leaves_no_whole_call(
    stop: tuple[str, ...], said: str, is_whole: bool
) -> None:
    for pieces in ([ids_of(said)], [[token_id] for token_id in ids_of(said)]):
        text = choice_text(stop, has_tools=True)
        run(text, pieces)
        assert text.is_stopped
        assert text.has_tool_calls is is_whole


@given(any_ids | spoken)
def test_without_a_stop_string_every_token_has_its_score(ids: list[int]) -> None:
    deltas = run(choice_text(has_scores=True), [[token_id] for token_id in ids])
    assert tokens_of(deltas) == [served_model().tokenizer.token_bytes(i) for i in ids]


@given(spoken, stops)
def test_scores_tell_no_token_that_lies_within_a_stop_string(
    ids: list[int], stop: list[str]
) -> None:
    text = choice_text(tuple(stop), has_scores=True)
    deltas = run(text, [[token_id] for token_id in ids])
    said = b"".join(tokens_of(deltas)).decode()
    ((_, content),) = joined(deltas)
    assert content.startswith(said)
    assert text.is_stopped or said == content


def test_a_score_goes_out_with_the_text_of_its_token() -> None:
    text = choice_text(("stop",), has_scores=True)
    (first,) = text.push(ids_of("A"), [TokenLogprobs(ids_of("A")[0], -0.5)])
    assert (first.delta, tokens_of([first])) == (ContentDelta("A"), [b"A"])
    held = ids_of("s")
    assert text.push(held, [TokenLogprobs(held[0], -0.5)]) == []
    rest = ids_of("un!")
    late = text.push(rest, [TokenLogprobs(i, -0.5) for i in rest])
    assert b"".join(tokens_of(late)) == b"sun!"
    assert joined(late) == [("content", "sun!")]


def test_reasoning_is_set_apart_and_its_tokens_are_counted() -> None:
    thought, answer = "<think>\nLet me see.\n</think>", "\n\nFive."
    text = choice_text(reasoning_parser=thinker())
    deltas = run(text, [[token_id] for token_id in ids_of(thought) + ids_of(answer)])
    assert reasoning_of(deltas) == "Let me see."
    assert joined(deltas) == [("content", "Five.")]
    assert 0 < text.num_reasoning_tokens <= len(ids_of(thought))
    assert text.num_tokens == len(ids_of(thought) + ids_of(answer))


def test_a_prompt_that_opened_the_reasoning_lets_the_answer_go_on_with_it() -> None:
    text = choice_text(reasoning_parser=thinker(is_open=True))
    deltas = run(text, [ids_of("Hm.</think>Five.")])
    assert reasoning_of(deltas) == "Hm."
    assert joined(deltas) == [("content", "Five.")]


def test_calls_are_looked_for_after_the_reasoning_only() -> None:
    text = choice_text(has_tools=True, reasoning_parser=thinker())
    deltas = run(text, [ids_of(f"<think>{CALL}</think>{CALL}")])
    assert reasoning_of(deltas) == CALL
    assert [name for name, _ in joined(deltas)] == ["content", "f"]


def test_reasoning_may_go_on_after_content() -> None:
    look, final = "<|channel|>commentary<|message|>I look.<|end|>", "<|channel|>final<|message|>5"
    text = harmony_text()
    ids = ids_of("<|start|>assistant".join([look, HARMONY_THOUGHT, HARMONY_CALL, final]))
    deltas = run(text, [ids])
    kinds = [kind for kind, _ in itertools.groupby(type(each.delta) for each in deltas)]
    assert kinds == [ContentDelta, ReasoningDelta, ToolCallStart, ToolCallArguments, ContentDelta]
    assert reasoning_of(deltas) == "Hm."
    assert joined(deltas) == [("content", "I look.\n5"), ("f", "{}")]


class _AtOnce:
    """A tokenizer of a kind that is unknown: all text comes at the end."""

    def __init__(self, text: str) -> None:
        self.decoder = SimpleNamespace(is_incremental=False, start=lambda: [])
        self._text = text

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return self._text


def test_nothing_comes_after_the_one_call_even_if_all_text_comes_at_the_end() -> None:
    said = "<|start|>assistant".join([HARMONY_CALL, HARMONY_CALL, HARMONY_THOUGHT, "Five.<"])
    text = harmony_text(is_one_call=True, tokenizer=cast("Tokenizer", _AtOnce(said)))
    deltas = run(text, [[1]])
    assert joined(deltas) == [("content", ""), ("f", "{}")]
    assert reasoning_of(deltas) == ""
    assert text.is_stopped


def test_special_tokens_are_text_if_they_are_asked_for() -> None:
    end = served_model().tokenizer.token_to_id("<|im_end|>")
    assert end is not None
    ids = [*ids_of("Hi"), end]
    assert joined(run(choice_text(), [ids])) == [("content", "Hi")]
    shown = choice_text(skip_special_tokens=False)
    assert joined(run(shown, [ids])) == [("content", "Hi<|im_end|>")]
