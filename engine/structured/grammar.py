"""Grammars as llguidance takes them, from what users write. Pure text in, text out.

Whitespace in JSON is one way only (`", "` and `": "`), so that no model writes blanks for ever.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import llguidance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llguidance._lib import JsonCompileOptions

_JSON: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}


class BadGrammar(Exception):
    """It is none; the text says why."""


def of_schema(schema: Mapping[str, object]) -> str:
    """JSON of that schema. Raises BadGrammar."""
    try:
        return llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_JSON)
    except ValueError as error:
        raise BadGrammar(str(error)) from None


def of_regex(pattern: str) -> str:
    """Text that the regular expression matches as a whole."""
    return llguidance.LLMatcher.grammar_from_regex(pattern)


def of_choice(texts: Sequence[str]) -> str:
    """One of the texts."""
    return llguidance.LLMatcher.grammar_from_lark("start: " + " | ".join(map(_literal, texts)))


def of_source(source: str) -> str:
    """What a Lark grammar, or a GBNF one ("root ::="), derives. Raises BadGrammar."""
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
    are_tags_tokens: bool,
    gap: str,
) -> str:
    """One call, or several, of the functions named by `schemas`, as Hermes models write them: an
    object of name and arguments between tags, with `gap` inside these. Where the tags are tokens
    of their own, the grammar must name the tokens: the library takes none for its text."""
    bodies = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": _arguments(schema)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
            "x-guidance": _JSON,
        }
        for name, schema in schemas.items()
    ]
    before, after = "<tool_call>", "</tool_call>"
    if not are_tags_tokens:
        before, after = _literal(before), _literal(after)
    names = [f"body_{n}" for n in range(len(bodies))]
    rules = [f"{name}: %json {json.dumps(body)}" for name, body in zip(names, bodies, strict=True)]
    more = "" if is_one_call else ' ("\\n" call)*'
    return llguidance.LLMatcher.grammar_from_lark(
        "\n".join(
            [
                f"start: call{more}",
                f"call: {before} {_literal(gap)} body {_literal(gap)} {after}",
                "body: " + " | ".join(names),
                *rules,
            ]
        )
    )


def _arguments(schema: Mapping[str, object]) -> Mapping[str, object]:
    """Arguments are always an object, also where the schema does not say so."""
    return schema if "type" in schema or "$ref" in schema else {**schema, "type": "object"}


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
