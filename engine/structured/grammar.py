"""Grammars as llguidance takes them, from what users write. Pure text in, text out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import llguidance

from engine.structured.lark import JSON_OPTIONS, OPTIONS, literal
from engine.structured.subschemas import KEYS_BY_NAME, KEYS_OF_DATA
from engine.structured.unsupported import fault_in_schema, mended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


class BadGrammar(Exception):
    """It is none; the text says why."""


def of_schema(schema: Mapping[str, object]) -> str:
    """JSON of that schema. Raises BadGrammar."""
    return of_kept(_kept(schema))


def of_kept(schema: Mapping[str, object]) -> str:
    """JSON of a schema that is as the library keeps it. Raises BadGrammar."""
    plain = json.dumps(schema)
    try:
        return llguidance.LLMatcher.grammar_from_json_schema(plain, overrides=JSON_OPTIONS)
    except ValueError as error:
        raise BadGrammar(str(error)) from None


def of_regex(pattern: str, *, unlike: str = "") -> str:
    """Text that the regular expression matches as a whole, if it does not begin with `unlike`."""
    whole = llguidance.LLMatcher.grammar_from_regex(pattern)
    if not unlike:
        return whole
    (regex,) = json.loads(whole)["grammars"]
    expression = regex["lark_grammar"].removeprefix("start: ")
    other = f"~({literal(unlike)} /(?s:.*)/)"
    return llguidance.LLMatcher.grammar_from_lark(f"start: TEXT\nTEXT: {expression} & {other}")


def of_choice(texts: Sequence[str]) -> str:
    """One of the texts."""
    return llguidance.LLMatcher.grammar_from_lark("start: " + " | ".join(map(literal, texts)))


def of_source(source: str) -> str:
    """What a Lark grammar, or a GBNF one ("root ::="), derives. Raises BadGrammar, also for what
    would tell the library how to read it."""
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), source)
    if plain.lstrip().startswith("{") or "%llguidance" in plain or OPTIONS in plain:
        raise BadGrammar("it may not set options of the library")
    try:
        if "::=" in source:
            return llguidance.grammar_from("gbnf", source)
        return llguidance.grammar_from("lark", source)
    except ValueError as error:
        raise BadGrammar(str(error)) from None


def arguments_of(schema: Mapping[str, object]) -> dict[str, object]:
    """A function's parameters as the schema of its arguments, which are always an object; as the
    library keeps it.

    Raises BadGrammar: it allows none."""
    plain = _kept(schema)
    kinds = plain.get("type", "object")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        raise BadGrammar("the arguments of a function are an object")
    return plain | {"type": "object"}


def _kept(schema: Mapping[str, object]) -> dict[str, object]:
    """As the library keeps it. Raises BadGrammar."""
    plain: dict[str, object] = _without_options(schema)
    if fault := fault_in_schema(plain):
        raise BadGrammar(fault)
    return plain


def _without_options(schema: object) -> Any:
    """A schema that cannot tell the library to be less strict."""
    if isinstance(schema, list):
        return [_without_options(item) for item in schema]
    if not isinstance(schema, dict) or not schema:
        return schema
    plain: dict[str, object] = {}
    for key, item in schema.items():
        if key in KEYS_OF_DATA:
            plain[key] = item
        elif key in KEYS_BY_NAME and isinstance(item, dict):
            plain[key] = {name: _without_options(each) for name, each in item.items()}
        elif key != OPTIONS:
            plain[key] = _without_options(item)
    return mended(plain)
