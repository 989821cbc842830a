"""The form that an answer must have, from what a chat request says of it in one of many ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from engine.structured import grammar
from service.body import decode, is_nested_deeper
from service.errors import BadRequest, NotSupported, PayloadTooLarge, ValidationFault
from service.schemas.chat import JsonObjectFormat, JsonSchemaFormat
from service.schemas.tools import FunctionTool
from service.structure import Structure, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.text.tokenizer import Tokenizer
    from service.schemas.chat import ChatCompletionRequest
    from service.schemas.tools import CallRule
    from service.served_model import ServedModel

MAX_NESTING = 64
MAX_SCHEMA_DEPTH = 32
MAX_PROPERTIES = 500
MAX_ENUM = 1000


def structure_of(
    chat: ChatCompletionRequest, served: ServedModel, max_schema_bytes: int
) -> Structure | None:
    """The form that the answer must have; None if it is free.

    Raises:
        ValidationFault: more than one form, one that does not go with another field, or too large.
        PayloadTooLarge: a schema exceeds its size.
        BadRequest: it is no schema or no grammar.
        NotSupported: the model's calls have a form that cannot be forced.
    """
    found = list(_structures(chat, served, max_schema_bytes))
    if not found:
        return None
    if len(found) > 1:
        raise ValidationFault(
            f"`{found[0].param}` and `{found[1].param}` both say what the answer must be.",
            param=found[1].param,
        )
    for name in ("ignore_eos", "min_tokens"):
        if getattr(chat, name):
            raise ValidationFault(
                f"`{name}` does not go with `{found[0].param}`: the form says where the answer ends.",
                param=name,
            )
    return found[0]


def _structures(
    chat: ChatCompletionRequest, served: ServedModel, max_schema_bytes: int
) -> Iterator[Structure]:
    def of_schema(raw: Raw, param: str) -> Structure:
        return _of_schema(raw, param, max_schema_bytes)

    match chat.response_format:
        case JsonObjectFormat():
            yield Structure(grammar.of_schema({"type": "object"}), "response_format")
        case JsonSchemaFormat(json_schema=named):
            yield of_schema(named.schema, "response_format.json_schema.schema")
    if (outputs := chat.structured_outputs) is not None:
        forms = (outputs.json, outputs.regex, outputs.choice, outputs.grammar)
        yield from _of_vllm(forms, "structured_outputs.", of_schema)
    older = (chat.guided_json, chat.guided_regex, chat.guided_choice, chat.guided_grammar)
    yield from _of_vllm(older, "guided_", of_schema)
    rule = chat.call_rule
    if rule.is_forced:
        yield _of_calls(chat, served, rule)


def _of_vllm(
    forms: tuple[Raw, str | None, list[str] | None, str | None],
    prefix: str,
    of_schema: Callable[[Raw, str], Structure],
) -> Iterator[Structure]:
    """The four forms under vLLM's names, of today and of before."""
    schema, regex, choice, source = forms
    if bytes(schema) != b"null":
        param = f"{prefix}json"
        if bytes(schema).startswith(b'"'):
            schema = Raw(decode(schema, str, param).encode())
        yield of_schema(schema, param)
    if regex is not None:
        yield Structure(grammar.of_regex(regex), f"{prefix}regex")
    if choice is not None:
        yield Structure(grammar.of_choice(choice), f"{prefix}choice")
    if source is not None:
        param = f"{prefix}grammar"
        try:
            yield Structure(grammar.of_source(source), param)
        except grammar.BadGrammar as error:
            raise refused(param, str(error)) from None


def _of_schema(raw: Raw, param: str, max_bytes: int) -> Structure:
    schema = _schema(raw, param, max_bytes)
    try:
        return Structure(grammar.of_schema(schema), param)
    except grammar.BadGrammar as error:
        raise refused(param, str(error)) from None


def _schema(raw: Raw, param: str, max_bytes: int) -> dict[str, object]:
    """A schema within its bounds. An absent one allows any JSON."""
    if len(raw) > max_bytes:
        raise PayloadTooLarge(f"`{param}` exceeds {max_bytes} bytes.", param=param)
    if is_nested_deeper(bytes(raw), MAX_NESTING):  # one in a string has not been looked at
        raise ValidationFault(f"`{param}` is nested too deeply.", param=param)
    try:
        schema = decode(raw, dict[str, object] | None, param) or {}  # type: ignore[arg-type]
    except BadRequest:
        raise refused(param, "it is no JSON") from None
    sizes = _Sizes()
    sizes.add(schema, 0)
    for name, size, limit in (
        ("levels", sizes.depth, MAX_SCHEMA_DEPTH),
        ("properties", sizes.num_properties, MAX_PROPERTIES),
        ("enum values", sizes.num_enum_values, MAX_ENUM),
    ):
        if size > limit:
            raise ValidationFault(f"`{param}` has more than {limit} {name}.", param=param)
    return schema


class _Sizes:
    """How deep and how broad a schema is; a level is a schema within a schema."""

    def __init__(self) -> None:
        self.depth = 0
        self.num_properties = 0
        self.num_enum_values = 0

    def add(self, value: object, depth: int) -> None:
        if isinstance(value, list):
            for item in value:
                self.add(item, depth)
        elif isinstance(value, dict):
            self.depth = max(self.depth, depth + 1)
            for key, child in value.items():
                if key == "properties" and isinstance(child, dict):
                    self.num_properties += len(child)
                    for each in child.values():
                        self.add(each, depth + 1)
                elif key == "enum" and isinstance(child, list):
                    self.num_enum_values += len(child)
                elif key not in ("const", "default", "examples"):
                    self.add(child, depth + 1)


def _of_calls(chat: ChatCompletionRequest, served: ServedModel, rule: CallRule) -> Structure:
    source = served.encoder.template.source
    if served.tool_format is None or served.tool_format.name != "hermes":
        raise NotSupported(
            "This model's calls have a form that cannot be forced yet.", param="tool_choice"
        )
    schemas: dict[str, dict[str, object]] = {}
    for index, tool in enumerate(chat.tools or ()):
        if isinstance(tool, FunctionTool) and (
            rule.names is None or tool.function.name in rule.names
        ):
            param = f"tools[{index}].function.parameters"
            raw = tool.function.parameters
            try:
                schema = grammar.arguments_of(_schema(raw, param, len(raw)))
            except grammar.BadGrammar as error:
                raise refused(param, str(error)) from None
            schemas[tool.function.name] = schema
    return Structure(
        grammar.of_calls(
            schemas,
            is_one_call=chat.parallel_tool_calls is False or rule.is_named,
            tag_ids=_tag_ids(served.tokenizer),
            gap="\n" if "<tool_call>\\n" in source else "",
        ),
        "tools",
        is_call=True,
    )


def _tag_ids(tokenizer: Tokenizer) -> tuple[int, int] | None:
    """Raises NotSupported: they are control tokens, which no text shows to the parser of calls."""
    opening, closing = map(tokenizer.token_to_id, ("<tool_call>", "</tool_call>"))
    if opening is None or closing is None:
        return None
    added = (tokenizer.added_tokens.get(token_id) for token_id in (opening, closing))
    if any(token is not None and token.special for token in added):
        raise NotSupported(
            "This model's calls have a form that cannot be forced yet.", param="tool_choice"
        )
    return opening, closing
