"""The form that an answer must have, from what a chat request says of it in one of many ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from engine.structured import grammar
from service.body import decode
from service.call_structure import CallWish, Function, mark_beside, with_calls
from service.errors import ValidationFault
from service.schema_bounds import read_schema
from service.schemas.chat import JsonObjectFormat, JsonSchemaFormat
from service.schemas.tools import FunctionTool
from service.structure import Structure, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.schemas.chat import ChatCompletionRequest
    from service.served_model import ServedModel


def structure_of(
    chat: ChatCompletionRequest, served: ServedModel, max_schema_bytes: int
) -> Structure | None:
    """The form that the answer must have; None if it is free.

    Raises:
        ValidationFault: more than one form, one that does not go with another field, or too large.
        PayloadTooLarge: a schema exceeds its size.
        BadRequest: it is no schema or no grammar, or arguments cannot be made to follow it.
        NotSupported: the model's calls have a form that cannot be forced.
    """
    wish = _call_wish(chat)
    found = list(_forms(chat, max_schema_bytes, mark_beside(wish, served)))
    if len(found) > 1:
        raise ValidationFault(
            f"`{found[0].param}` and `{found[1].param}` both say what the answer must be.",
            param=found[1].param,
        )
    structure = with_calls(wish, found[0] if found else None, served)
    if structure is not None:
        _check_end(chat, structure)
    return structure


def _call_wish(chat: ChatCompletionRequest) -> CallWish:
    rule = chat.call_rule
    functions = [
        Function(
            tool.function.name,
            tool.function.parameters,
            tool.function.strict is True,
            f"tools[{index}].function.parameters",
        )
        for index, tool in enumerate((chat.tools or ()) if chat.may_call_tools else ())
        if isinstance(tool, FunctionTool)
        and (rule.names is None or tool.function.name in rule.names)
    ]
    is_one_call = chat.parallel_tool_calls is False or rule.is_named
    return CallWish(tuple(functions), rule.is_forced, is_one_call)


def _check_end(chat: ChatCompletionRequest, structure: Structure) -> None:
    for name in ("ignore_eos", "min_tokens"):
        if getattr(chat, name):
            raise ValidationFault(
                f"`{name}` does not go with `{structure.param}`: the form says where the answer ends.",
                param=name,
            )


def _forms(chat: ChatCompletionRequest, max_schema_bytes: int, unlike: str) -> Iterator[Structure]:
    """What the fields for forms say. With `unlike` such a form never begins so, as far as may be."""

    def of_schema(raw: Raw, param: str) -> Structure:
        return _of_schema(raw, param, max_schema_bytes)

    match chat.response_format:
        case JsonObjectFormat():
            yield Structure(grammar.of_schema({"type": "object"}), "response_format")
        case JsonSchemaFormat(json_schema=named):
            yield of_schema(named.schema, "response_format.json_schema.schema")
    if (outputs := chat.structured_outputs) is not None:
        forms = (outputs.json, outputs.regex, outputs.choice, outputs.grammar)
        yield from _of_vllm(forms, "structured_outputs.", of_schema, unlike)
    older = (chat.guided_json, chat.guided_regex, chat.guided_choice, chat.guided_grammar)
    yield from _of_vllm(older, "guided_", of_schema, unlike)


def _of_vllm(
    forms: tuple[Raw, str | None, list[str] | None, str | None],
    prefix: str,
    of_schema: Callable[[Raw, str], Structure],
    unlike: str,
) -> Iterator[Structure]:
    """The four forms under vLLM's names, of today and of before."""
    schema, regex, choice, source = forms
    if bytes(schema) != b"null":
        param = f"{prefix}json"
        if bytes(schema).startswith(b'"'):
            schema = Raw(decode(schema, str, param).encode())
        yield of_schema(schema, param)
    if regex is not None:
        yield Structure(grammar.of_regex(regex, unlike=unlike), f"{prefix}regex")
    if choice is not None:
        is_like = bool(unlike) and any(text.startswith(unlike) for text in choice)
        yield Structure(grammar.of_choice(choice), f"{prefix}choice", may_look_like_calls=is_like)
    if source is not None:
        param = f"{prefix}grammar"
        try:
            yield Structure(grammar.of_source(source), param, may_look_like_calls=True)
        except grammar.BadGrammar as error:
            raise refused(param, str(error)) from None


def _of_schema(raw: Raw, param: str, max_bytes: int) -> Structure:
    word = bytes(raw).strip()
    if word == b"false":
        raise refused(param, "it allows no value")
    schema = {} if word == b"true" else read_schema(raw, param, max_bytes)
    try:
        return Structure(grammar.of_schema(schema), param)
    except grammar.BadGrammar as error:
        raise refused(param, str(error)) from None
