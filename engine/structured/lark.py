"""`LarkWriter`: rules in the library's dialect of Lark, each written once.

A token can stand in a rule and not in a terminal; what a text may not hold can be said of a
terminal only. Texts that come from users are literals, whatever they look like.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llguidance._lib import JsonCompileOptions

OPTIONS = "x-guidance"
JSON_OPTIONS: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allowed_escapes": 'nrbtf\\"',
}
"""Whitespace in one way only, so that no model writes blanks for ever. No "\\u0061": the library
would take it for another property than "a"."""


class LarkWriter:
    """`token_ids`: the control tokens by their text, which the marks of a format are written with
    where they are among them."""

    def __init__(self, token_ids: Mapping[str, int]) -> None:
        self._token_ids = token_ids
        longest_first = sorted(token_ids, key=len, reverse=True)
        self._tokens = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._names: dict[str, str] = {}
        self.num_chars = 0
        """Of all rules so far."""

    def source(self, start: str) -> str:
        """The whole grammar."""
        rules = [f"{name}: {body}" for body, name in self._names.items()]
        return "\n".join([f"start: {start}", *rules])

    def rule(self, body: str) -> str:
        """The name of the rule with that body."""
        return self._name(body, "r")

    def terminal(self, body: str) -> str:
        """The name of the terminal with that body."""
        return self._name(body, "T")

    def json(self, schema: Mapping[str, object]) -> str:
        """JSON of a schema, which is a document of its own: its references are to its own root."""
        return self.rule(f"%json {json.dumps({**schema, OPTIONS: JSON_OPTIONS})}")

    def written(self, text: str) -> str:
        """A text of the format, its marks as tokens where they are some; "" for no text."""
        return " ".join(self._pieces(text))

    def until(
        self, closing: str, unsaid: Sequence[str], *, least: int = 0, most: int | None = None
    ) -> str:
        """Text of `least` to `most` characters without what is `unsaid`, then `closing`."""
        first, *rest = self._pieces(closing)
        if first.startswith("<["):
            return " ".join([self.text(unsaid, least=least, most=most), first, *rest])
        # One terminal: the library never goes back to where a text might have ended before.
        body = f"({_any_text(unsaid, least, most)}) {first}"
        return " ".join([self.terminal(body), *rest])

    def text(self, unsaid: Sequence[str], *, least: int = 0, most: int | None = None) -> str:
        """Text of `least` to `most` characters without what is `unsaid`."""
        if most == 0:
            return ""
        name = self.terminal(_any_text(unsaid, max(least, 1), most))
        return name if least else f"{name}?"

    def _name(self, body: str, kind: str) -> str:
        if body not in self._names:
            self._names[body] = f"{kind}{len(self._names)}"
            self.num_chars += len(body)
        return self._names[body]

    def _pieces(self, text: str) -> list[str]:
        if not self._token_ids:
            return [literal(text)] if text else []
        return [
            f"<[{self._token_ids[part]}]>" if part in self._token_ids else literal(part)
            for part in self._tokens.split(text)
            if part
        ]


def literal(text: str) -> str:
    """A string of Lark, which takes no control characters."""
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(
        char if char.isprintable() or ord(char) > 0xFFFF else f"\\u{ord(char):04x}"
        for char in quoted
    )


def ranges(token_ids: Iterable[int]) -> str:
    """One of the tokens; "" for none."""
    spans: list[list[int]] = []
    for token_id in sorted(token_ids):
        if spans and spans[-1][1] == token_id - 1:
            spans[-1][1] = token_id
        else:
            spans.append([token_id, token_id])
    return f"<[{','.join(f'{first}-{last}' for first, last in spans)}]>" if spans else ""


def _any_text(unsaid: Sequence[str], least: int, most: int | None) -> str:
    text = f"/(?s:.{{{least},{'' if most is None else most}}})/"
    if not unsaid:
        return text
    return f"{text} & ~(/(?s:.*)/ ({' | '.join(map(literal, unsaid))}) /(?s:.*)/)"
