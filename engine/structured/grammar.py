"""Grammars as llguidance takes them, from what users write. Pure text in, text out.

Whitespace in JSON is one way only (`", "` and `": "`), so that no model writes blanks for ever.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import llguidance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llguidance._lib import JsonCompileOptions

_OPTIONS = "x-guidance"
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_OF_DATA = frozenset({"const", "enum", "default", "examples"})
_BY_NAME = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
)
_JSON: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}


class BadGrammar(Exception):
    """It is none; the text says why."""


def of_schema(schema: Mapping[str, object]) -> str:
    """JSON of that schema. Raises BadGrammar."""
    plain = json.dumps(_without_options(schema))
    try:
        return llguidance.LLMatcher.grammar_from_json_schema(plain, overrides=_JSON)
    except ValueError as error:
        raise BadGrammar(str(error)) from None


def of_regex(pattern: str) -> str:
    """Text that the regular expression matches as a whole."""
    return llguidance.LLMatcher.grammar_from_regex(pattern)


def of_choice(texts: Sequence[str]) -> str:
    """One of the texts."""
    return llguidance.LLMatcher.grammar_from_lark("start: " + " | ".join(map(_literal, texts)))


def of_source(source: str) -> str:
    """What a Lark grammar, or a GBNF one ("root ::="), derives. Raises BadGrammar, also for what
    would tell the library how to read it."""
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), source)
    if plain.lstrip().startswith("{") or "%llguidance" in plain or _OPTIONS in plain:
        raise BadGrammar("it may not set options of the library")
    try:
        if "::=" in source:
            return llguidance.grammar_from("gbnf", source)
        return llguidance.grammar_from("lark", source)
    except ValueError as error:
        raise BadGrammar(str(error)) from None


def of_calls(
    schemas: Mapping[str, Mapping[str, object]],
    *,
    is_one_call: bool,
    tag_ids: tuple[int, int] | None,
    gap: str,
) -> str:
    """One call, or several, of the functions named by `schemas`, as Hermes models write them: an
    object of name and arguments between tags, with `gap` inside these. Where the tags are tokens
    of their own, `tag_ids` has them: no text of a grammar means a control token.
    `schemas` are as `arguments_of` gives them."""
    if tag_ids is None:
        before, after = _literal("<tool_call>"), _literal("</tool_call>")
    else:
        before, after = (f"<[{token_id}]>" for token_id in tag_ids)
    rules = []
    for number, (name, schema) in enumerate(schemas.items()):
        head = _literal(f'{{"name": {json.dumps(name)}, "arguments": ')
        # A document of its own each: a schema's references are to its own root.
        arguments = json.dumps({**schema, _OPTIONS: _JSON})
        rules += [
            f'body_{number}: {head} arguments_{number} "}}"',
            f"arguments_{number}: %json {arguments}",
        ]
    more = "" if is_one_call else ' ("\\n" call)*'
    return llguidance.LLMatcher.grammar_from_lark(
        "\n".join(
            [
                f"start: call{more}",
                f"call: {before} {_literal(gap)} body {_literal(gap)} {after}",
                "body: " + " | ".join(f"body_{number}" for number in range(len(schemas))),
                *rules,
            ]
        )
    )


def arguments_of(schema: Mapping[str, object]) -> dict[str, object]:
    """A function's parameters as the schema of its arguments, which are always an object.

    Raises BadGrammar: it allows none."""
    plain: dict[str, object] = _without_options(schema)
    kinds = plain.get("type", "object")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        raise BadGrammar("the arguments of a function are an object")
    return plain | {"type": "object"}


def _without_options(schema: object) -> Any:
    """A schema that cannot tell the library to be less strict."""
    if isinstance(schema, list):
        return [_without_options(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, object] = {}
    for key, item in schema.items():
        if key in _OF_DATA:
            plain[key] = item
        elif key in _BY_NAME and isinstance(item, dict):
            plain[key] = {name: _without_options(each) for name, each in item.items()}
        elif key != _OPTIONS:
            plain[key] = _without_options(item)
    return plain


def _literal(text: str) -> str:
    """A string of Lark, which takes no control characters."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(
        char if char.isprintable() or ord(char) > 0xFFFF else f"\\u{ord(char):04x}"
        for char in quoted
    )
