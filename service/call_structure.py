"""The form of an answer that calls functions: what every API with tools has in common."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from engine.structured import calls, grammar
from engine.structured.tagged_arguments import loosened
from engine.structured.vocabulary import REASONING_MARKS, SAYABLE, is_control
from engine.text.reasoning_parsers.think import ThinkFormat
from service.errors import NotSupported, ValidationFault
from service.schema_bounds import read_schema
from service.structure import Held, Structure, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.served_model import ServedModel


MAX_PARTS = 16
"""So many functions are looked at one by one where they cannot be kept to together."""


class Function(msgspec.Struct, frozen=True):
    """A function that may be called, and where its parameters, a JSON schema, stand."""

    name: str
    parameters: Raw
    is_strict: bool
    param: str


class CallWish(msgspec.Struct, frozen=True):
    """Which functions an answer may call, whether it must, and whether at most once."""

    functions: tuple[Function, ...]
    is_forced: bool
    is_one_call: bool

    @property
    def is_strict(self) -> bool:
        return any(function.is_strict for function in self.functions)


def mark_beside(wish: CallWish, served: ServedModel) -> str:
    """What calls begin with that may come instead of an answer of some form; "": none may."""
    if wish.is_forced or not wish.functions or served.tool_format is None:
        return ""
    return served.tool_format.shape(served.encoder.template.source).mark


def with_calls(
    wish: CallWish, structure: Structure | None, served: ServedModel
) -> Structure | None:
    """The form of an answer that may be of the form `structure`, or (None) free, and calls.

    Raises:
        ValidationFault: it must be both.
        BadRequest: arguments cannot be made to follow their schema.
        NotSupported: the model's calls have a form that cannot be held to anything.
    """
    if wish.is_forced:
        forced = _forced(wish, _call_form(served))
        if structure is not None:
            raise ValidationFault(
                f"`{structure.param}` and `{forced.param}` both say what the answer must be.",
                param=forced.param,
            )
        return forced
    if not wish.functions or (structure is None and not wish.is_strict):
        return structure
    form = _call_form(served)
    if form is None:
        return structure
    if structure is not None:
        return _calls_or_form(wish, structure, form)
    if not form.shape.mark and served.reasoning is not None:
        raise NotSupported(
            "This model's calls cannot be told from its reasoning: `strict` needs a call that is forced.",
            param="tools",
        )
    schemas = _schemas(wish, form)
    with _placed(wish.functions):
        text = calls.of_calls_in_text(form, schemas, is_one_call=wish.is_one_call)
    strict = [function for function in wish.functions if function.is_strict]
    parts = _parts(strict, schemas)
    return Structure(text, _param(strict), Held.CALLS_IN_TEXT, parts=parts)


def _call_form(served: ServedModel) -> calls.CallForm | None:
    """How the model writes calls. None: in no known form, or with special tokens that text
    decoding hides from the parser."""
    if served.tool_format is None:
        return None
    shape = served.tool_format.shape(served.encoder.template.source)
    texts = "\n".join(shape.texts)
    token_ids: dict[str, int] = {}
    spoken_ids: list[int] = []
    for token_id, token in served.tokenizer.added_tokens.items():
        text = token.content
        if token_id >= served.card.vocab_size or not is_control(text, token.special):
            continue
        if text in texts:
            if token.special and text not in SAYABLE:
                return None
            token_ids[text] = token_id
        elif token_id not in served.card.eos_token_ids and (
            not token.special or text in REASONING_MARKS
        ):
            spoken_ids.append(token_id)
    return calls.CallForm(shape, token_ids, tuple(spoken_ids), _thought(served, spoken_ids))


def _thought(served: ServedModel, spoken_ids: Sequence[int]) -> calls.Thought | None:
    """How an answer may begin with reasoning; None: in no way, or between texts that are no tokens."""
    reasoning = served.reasoning
    if not isinstance(reasoning, ThinkFormat):
        return None
    opening, closing = map(served.tokenizer.token_to_id, (reasoning.opening, reasoning.closing))
    if opening is None or closing is None or not {opening, closing} <= set(spoken_ids):
        return None
    return calls.Thought(opening, closing, reasoning.closing)


def _forced(wish: CallWish, form: calls.CallForm | None) -> Structure:
    if form is None:
        raise NotSupported(
            "This model's calls have a form that cannot be forced.", param="tool_choice"
        )
    schemas = {function.name: _arguments(function) for function in wish.functions}
    with _placed(wish.functions):
        text = calls.of_calls(form, schemas, is_one_call=wish.is_one_call)
    parts = _parts(wish.functions, schemas)
    return Structure(text, _param(wish.functions), Held.CALLS, parts=parts)


def _calls_or_form(wish: CallWish, structure: Structure, form: calls.CallForm) -> Structure:
    if structure.may_look_like_calls or not form.shape.mark:
        return structure
    schemas = _schemas(wish, form)
    with _placed(wish.functions):
        text = calls.of_calls_or_form(
            form, schemas, structure.grammar, is_one_call=wish.is_one_call
        )
    strict = [function for function in wish.functions if function.is_strict]
    parts = ((structure.param, structure.grammar), *_parts(strict, schemas))
    return Structure(text, structure.param, Held.CALLS_OR_ANSWER, parts=parts)


def _schemas(wish: CallWish, form: calls.CallForm) -> dict[str, dict[str, object]]:
    """Of the arguments, where calls may come: those of `strict` functions are kept to."""
    return {
        function.name: _arguments(function)
        if function.is_strict
        else _any_arguments(function, form)
        for function in wish.functions
    }


def _arguments(function: Function) -> dict[str, object]:
    raw = function.parameters
    try:
        return grammar.arguments_of(read_schema(raw, function.param, len(raw)))
    except grammar.BadGrammar as error:
        raise refused(function.param, str(error)) from None


def _any_arguments(function: Function, form: calls.CallForm) -> dict[str, object]:
    """For a function that is not `strict`: an object; between tags of the declared names."""
    if form.shape.argument is None:
        return {"type": "object"}
    return loosened(read_schema(function.parameters, function.param, len(function.parameters)))


@contextmanager
def _placed(functions: Sequence[Function]) -> Iterator[None]:
    """Says of arguments that cannot be promised where they stand."""
    try:
        yield
    except calls.BadArguments as error:
        (param,) = (f.param for f in functions if f.name == error.function)
        raise refused(param, str(error)) from None


def _parts(
    functions: Sequence[Function], schemas: Mapping[str, Mapping[str, object]]
) -> tuple[tuple[str, str], ...]:
    return tuple(
        (function.param, grammar.of_kept(schemas[function.name]))
        for function in functions[:MAX_PARTS]
    )


def _param(functions: Sequence[Function]) -> str:
    """What the library has to say is of one of them."""
    return functions[0].param if len(functions) == 1 else "tools"
