"""Which added tokens steer the model, and where their text occurs in strings of users.

An added token is a control token if it is special, or if it looks like markup: `<...>`, `[...]`
with a word in it, and the like (`<tool_call>`, `</think>`, `<|fim_prefix|>`, `[TOOL_CALLS]`).
Spaces around it do not count. Not control tokens are
- other added tokens that are not special: pieces of JSON such as `", "arguments": {"`, runs of
  spaces, words. They are a shorter spelling of text and steer nothing;
- names of HTML elements that are not special (Gemma adds `<table>`, `<code>`): users write HTML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import AddedToken, models

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.text.tokenizer import Tokenizer

REASONING_MARKERS = frozenset({"<think>", "</think>"})
"""Left as they are in what an assistant message says, if not special: the model wrote them, and
templates look for them to drop old reasoning."""

_MARKUP = re.compile(r"<+[^<>]+>+|\[/?[A-Za-z_][^\[\]]*\]|[◁〈《【][^◁▷〈〉《》【】]+[▷〉》】]")
_HTML = re.compile(
    r"</?(?:a|b|blockquote|body|br|caption|code|div|em|h[1-6]|head|hr|html|i|img|li|ol|p|pre|s|span"
    r"|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|u|ul)>"
)
_NO_TOKEN = "\U0010fffe"


class ControlTokens:
    """The control tokens of one tokenizer. `texts` are without the spaces around them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokens = [token for token in tokenizer.added_tokens.values() if is_control(token)]
        self.texts = frozenset(token.content.strip() for token in tokens)
        self.optional = frozenset(
            text for token in tokens if not token.special and (text := token.content.strip())
        ) & (REASONING_MARKERS)
        self.ids = frozenset(
            id_ for id_, token in tokenizer.added_tokens.items() if is_control(token)
        )
        self._first_chars = frozenset(text[0] for text in self.texts)
        self._finder = _finder(self.texts)
        # A token that is matched in normalized text can hide in other characters (a full-width
        # bracket under NFKC, capitals under Lowercase).
        self._normalizer = tokenizer.backend.normalizer
        normalized = [token.content for token in tokens if token.normalized]
        self._normalized_finder = None
        if self._normalizer is not None and normalized:
            forms = map(self._normalizer.normalize_str, normalized)
            self._normalized_finder = _finder({form.strip() for form in forms} - {""})

    def spans(self, text: str, *, keep: frozenset[str] = frozenset()) -> list[tuple[int, int]]:
        """Where control tokens are written in `text`, as (start, end) in order, without overlap.

        Those in `keep` are passed over. A text that only becomes a control token when it is
        normalized is one span from end to end.
        """
        found: list[tuple[int, int]] = []
        if not self._first_chars.isdisjoint(text):
            found = [(s, e) for s, e in _matches(self._finder, text) if text[s:e] not in keep]
        if self._normalized_finder is not None and self._normalizer is not None:
            outside = "".join(" " + part for part in _outside(text, found))
            for kept in keep:
                outside = outside.replace(kept, " ")
            if _matches(self._normalized_finder, self._normalizer.normalize_str(outside)):
                return [(0, len(text))]
        return found


def is_control(token: AddedToken) -> bool:
    """The rule of this module."""
    text = token.content.strip()
    if not text:
        return False
    return token.special or (bool(_MARKUP.fullmatch(text)) and not _HTML.fullmatch(text))


def _finder(texts: Iterable[str]) -> tokenizers.Tokenizer:
    """Matches all `texts` in linear time, however many and however nested (re would not)."""
    finder = tokenizers.Tokenizer(models.WordLevel({_NO_TOKEN: 0}, unk_token=_NO_TOKEN))
    finder.add_tokens([AddedToken(text, normalized=False) for text in sorted(texts)])
    return finder


def _matches(finder: tokenizers.Tokenizer, text: str) -> list[tuple[int, int]]:
    (encoding,) = finder.encode_batch([text], add_special_tokens=False)
    return [span for id_, span in zip(encoding.ids, encoding.offsets, strict=True) if id_]


def _outside(text: str, spans: list[tuple[int, int]]) -> list[str]:
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]
