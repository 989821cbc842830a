"""Calls of functions as a grammar: forced, among free text, or instead of an answer of a form.

Pure text in, text out. The schemas are as `grammar.arguments_of` gives them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import llguidance
import msgspec

from engine.structured.grammar import BadGrammar
from engine.structured.lark import LarkWriter, literal, ranges
from engine.structured.tagged_arguments import arguments
from engine.text.tool_parsers.call_shape import CallShape

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPACE = r"[\s\x1c-\x1f]"


class BadArguments(BadGrammar):
    """What a function asks of its arguments cannot be promised in the shape of the model's calls."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(reason)
        self.function = function


class Thought(msgspec.Struct, frozen=True):
    """The tokens around the reasoning that an answer may begin with, and the text of the last."""

    opening_id: int
    closing_id: int
    closing: str


class CallForm(msgspec.Struct, frozen=True):
    """How a model writes calls: the shape, and the control tokens of its tokenizer.

    `token_ids` has those among the shape's marks, by their text. `spoken_ids` are others, which
    free text may hold. Without a `thought` reasoning is text like any other.
    """

    shape: CallShape
    token_ids: dict[str, int] = {}
    spoken_ids: tuple[int, ...] = ()
    thought: Thought | None = None


def of_calls(
    form: CallForm, schemas: Mapping[str, Mapping[str, object]], *, is_one_call: bool
) -> str:
    """One call, or several, of the functions named by `schemas`.

    Raises BadArguments."""
    writer = LarkWriter(form.token_ids)
    return _grammar(writer, _list(writer, form.shape, schemas, is_one_call))


def of_calls_or_form(
    form: CallForm,
    schemas: Mapping[str, Mapping[str, object]],
    other: str,
    *,
    is_one_call: bool,
) -> str:
    """As `of_calls`, or what the grammar `other` derives. Raises BadArguments."""
    writer = LarkWriter(form.token_ids)
    calls = _list(writer, form.shape, schemas, is_one_call)
    inner = json.loads(other)["grammars"][0] if other.startswith("{") else {"lark_grammar": other}
    return json.dumps(
        {
            "grammars": [
                {"lark_grammar": writer.source(f"{writer.rule(calls)} | @other")},
                {**inner, "name": "other"},
            ]
        }
    )


def of_calls_in_text(
    form: CallForm, schemas: Mapping[str, Mapping[str, object]], *, is_one_call: bool
) -> str:
    """Free text in which calls are such as `of_calls` gives; none has to come. With `is_one_call`
    the first one ends the answer. A mark in a `thought` begins none. Raises BadArguments."""
    writer = LarkWriter(form.token_ids)
    shape = form.shape
    if shape.message is not None:
        return _grammar(writer, _in_messages(writer, shape, schemas))
    if not shape.mark:
        calls = _list(writer, shape, schemas, is_one_call)
        return _grammar(writer, f"{writer.rule(calls)} | {_not_an_object(writer, form)}")
    answer = _text_with_calls(writer, form, schemas, is_one_call=is_one_call)
    if form.thought is None:
        return _grammar(writer, answer)
    thought = writer.rule(_thought(writer, form, form.thought))
    return _grammar(writer, f"({thought} <[{form.thought.closing_id}]>)? {answer} | {thought}")


def _grammar(writer: LarkWriter, start: str) -> str:
    return llguidance.LLMatcher.grammar_from_lark(writer.source(start))


def _list(
    writer: LarkWriter,
    shape: CallShape,
    schemas: Mapping[str, Mapping[str, object]],
    is_one_call: bool,
) -> str:
    """The calls with all that is around them."""
    call = f"{writer.written(shape.head)} {_call(writer, shape, schemas)}"
    more = ""
    if not (is_one_call or shape.is_single):
        call = writer.rule(call)
        more = f"({writer.written(shape.between)} {call})*"
    return f"{writer.written(shape.begin)} {call} {more} {writer.written(shape.end)}"


def _call(writer: LarkWriter, shape: CallShape, schemas: Mapping[str, Mapping[str, object]]) -> str:
    """A call from the function's name on."""
    bodies = []
    for name, schema in schemas.items():
        said = _arguments(writer, shape, name, schema)
        bodies.append(writer.rule(f"{literal(name)} {writer.written(shape.named)} {said}"))
    return writer.rule(f"({' | '.join(bodies)}) {writer.written(shape.tail)}")


def _arguments(
    writer: LarkWriter, shape: CallShape, name: str, schema: Mapping[str, object]
) -> str:
    if shape.argument is None:
        return writer.json(schema)
    try:
        return arguments(writer, shape.argument, schema)
    except BadGrammar as error:
        raise BadArguments(name, str(error)) from None


def _text_with_calls(
    writer: LarkWriter,
    form: CallForm,
    schemas: Mapping[str, Mapping[str, object]],
    *,
    is_one_call: bool,
) -> str:
    shape = form.shape
    body = _call(writer, shape, schemas)
    first = writer.written((shape.begin + shape.head).removeprefix(shape.mark))
    # A list has an end of its own; without one the next call is found in the text behind.
    is_list = bool(shape.begin) and not is_one_call
    more = f"({writer.written(shape.between + shape.head)} {body})*" if is_list else ""
    calls = " ".join([writer.until(shape.mark, shape.unsaid), first, body, more])
    called = writer.rule(f"{calls} {writer.written(shape.end)}")
    said = writer.text(shape.unsaid)
    spoken = f"({said} {tokens})*" if (tokens := ranges(form.spoken_ids)) else ""
    if is_one_call:
        return f"{spoken} ({called} | {said})"
    return f"({spoken} {called})* {spoken} {said}"


def _thought(writer: LarkWriter, form: CallForm, thought: Thought) -> str:
    """What an answer may begin with, up to the token that closes it."""
    text = writer.text((thought.closing,))
    inside = {*form.spoken_ids, *form.token_ids.values()} - {thought.closing_id}
    return f"{_blank(writer)}? <[{thought.opening_id}]> ({text} {ranges(inside)})* {text}"


def _blank(writer: LarkWriter) -> str:
    """White space: Python's, which parsers skip."""
    return writer.terminal(f"/{_SPACE}+/")


def _in_messages(
    writer: LarkWriter, shape: CallShape, schemas: Mapping[str, Mapping[str, object]]
) -> str:
    """Messages of text, of which the last may be a call. The prompt may have begun the first."""
    assert shape.message is not None
    heads = writer.rule(" | ".join(map(writer.written, shape.message.heads)))
    rest = writer.rule(writer.until(shape.message.between, shape.unsaid))
    said = writer.text(shape.unsaid)
    call = _list(writer, shape, schemas, is_one_call=True)
    return f"{said} | {rest}? ({heads} {rest})* ({call} | {heads} {said})"


def _not_an_object(writer: LarkWriter, form: CallForm) -> str:
    """Text that does not begin as calls do, white space aside, and tokens that may be hidden."""
    beginnings = " | ".join(map(literal, ("{", *form.shape.unsaid)))
    text = f"/(?s:.+)/ & ~(/{_SPACE}*/ ({beginnings}) /(?s:.*)/)"
    tokens = ranges(form.spoken_ids)
    if not tokens:
        return f"{writer.terminal(text)}?"
    said = writer.terminal(f"{text} & ~/{_SPACE}*/")
    return f"({_blank(writer)} | {tokens})* ({said} ({tokens} {writer.text(())})*)?"
