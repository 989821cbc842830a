"""The parts of a tokenizer.json that the `tokenizers` library does not show."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from engine.text.errors import TokenizerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import tokenizers
    from tokenizers import AddedToken

# Canonical composition makes one character of up to four (a base letter with three marks).
_COMPOSED = 4
# Normalizers that never delete text, with how many characters they may make one of.
_KEPT_BY_NORMALIZER = {
    "NFC": _COMPOSED,
    "NFKC": _COMPOSED,
    "NFD": 1,
    "NFKD": 1,
    "Lowercase": 1,
    "Prepend": 1,
    "ByteLevel": 1,
}
_KEPT_BY_PRE_TOKENIZER = frozenset({"ByteLevel", "Metaspace", "Digits", "UnicodeScripts"})


class _Model(msgspec.Struct, frozen=True):
    type: str = "BPE"
    byte_fallback: bool = False
    unk_token: str | None = None
    unk_id: int | None = None


class TokenizerFile(msgspec.Struct, frozen=True):
    """The pipeline of a tokenizer as its file describes it; vocabularies are skipped."""

    decoder: dict[str, object] | None = None
    normalizer: dict[str, object] | None = None
    pre_tokenizer: dict[str, object] | None = None
    model: _Model = _Model()

    @classmethod
    def read(cls, path: Path) -> TokenizerFile:
        """Raises TokenizerUnusable."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TokenizerUnusable(f"{path.name} cannot be read: {error}") from error

    def unknown_id(self, backend: tokenizers.Tokenizer) -> int | None:
        """The id that stands for text outside of the vocabulary."""
        if self.model.unk_token is not None:
            return backend.token_to_id(self.model.unk_token)
        return self.model.unk_id

    def longest_token_chars(self, vocabulary: Iterable[str], added: Iterable[AddedToken]) -> int:
        """How many characters of text one token can stand for, at most.

        sys.maxsize where there is no bound: the pipeline deletes text (a normalizer that strips,
        a pre-tokenizer that drops spaces), one unknown token stands for any run, or an added
        token swallows the spaces around it.
        """
        added = list(added)
        factor = _normalizer_factor(self.normalizer)
        unbounded = (
            factor is None
            or not _keeps_text(self.pre_tokenizer)
            or not self._spells_everything()
            or any(token.lstrip or token.rstrip for token in added)
        )
        if factor is None or unbounded:
            return sys.maxsize
        longest = max(map(len, vocabulary), default=1)
        return max(longest * factor, *(len(token.content) for token in added), 1)

    def _spells_everything(self) -> bool:
        """Whether text that no token covers still costs a token per byte or character."""
        if self.model.byte_fallback:
            return True
        # Without an unknown token a BPE model drops what it cannot spell, unless every byte has
        # its own token, and a byte-level step is what makes them so.
        byte_level = "ByteLevel" in (*_types(self.pre_tokenizer), *_types(self.normalizer))
        return self.model.type == "BPE" and byte_level


def _steps(step: Mapping[str, object] | None) -> list[Mapping[str, object]]:
    """A pipeline step, with Sequences laid flat."""
    if step is None:
        return []
    children = step.get("normalizers", step.get("pretokenizers"))
    if step.get("type") != "Sequence" or not isinstance(children, list):
        return [step]
    return [leaf for child in children if isinstance(child, dict) for leaf in _steps(child)]


def _types(step: Mapping[str, object] | None) -> list[object]:
    return [leaf.get("type") for leaf in _steps(step)]


def _normalizer_factor(normalizer: Mapping[str, object] | None) -> int | None:
    factor = 1
    for step in _steps(normalizer):
        kind = step.get("type")
        if kind == "Replace":
            pattern = step.get("pattern")
            literal = pattern.get("String") if isinstance(pattern, dict) else None
            if not isinstance(literal, str) or not step.get("content"):
                return None
            factor *= len(literal)
        elif kind in _KEPT_BY_NORMALIZER:
            factor *= _KEPT_BY_NORMALIZER[str(kind)]
        else:
            return None
    return factor


def _keeps_text(pre_tokenizer: Mapping[str, object] | None) -> bool:
    return all(
        step.get("type") in _KEPT_BY_PRE_TOKENIZER
        or (step.get("type") in ("Split", "Punctuation") and step.get("behavior") != "Removed")
        for step in _steps(pre_tokenizer)
    )
