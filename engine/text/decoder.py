"""From a tokenizer's decoder to stages that work token by token.

The `tokenizers` library decodes whole lists only, and its DecodeStream is not exact: it raises
or holds everything back on invalid UTF-8. These stages are its decoders, made incremental.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text.decode_stages import (
    ByteFallbackStage,
    BytesStage,
    FirstTokenStage,
    JoinStage,
    LeadingStripStage,
    Stage,
    SuffixStage,
    TokenStage,
    WordPieceStage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Factory = Callable[[], Stage]

_REPLACEMENTS_OF_CLEANUP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class Decoder:
    """How one tokenizer turns tokens into text; `start()` begins one text.

    `is_incremental` is False for decoders that are not known here: their text comes at the end.
    """

    def __init__(self, factories: list[Factory] | None) -> None:
        self._factories = factories or []
        self.is_incremental = factories is not None
        self._unused_stages = self.start()

    @classmethod
    def from_spec(cls, spec: Mapping[str, object] | None) -> Decoder:
        """From the "decoder" entry of a tokenizer.json."""
        if spec is None:
            return cls([JoinStage])
        factories: list[Factory] = []
        is_fused = False
        for step in _flat(spec):
            if is_fused and step.get("type") != "Fuse":
                factory = _fused_factory(step)
            else:
                factory = _factory(step)
            if factory is None:
                return cls(None)
            factories.append(factory)
            is_fused = is_fused or step.get("type") in ("Fuse", "ByteLevel")
        return cls(factories)

    def start(self) -> list[Stage]:
        """Fresh stages, first to last."""
        return [factory() for factory in self._factories]

    def token_bytes(self, token: str) -> bytes:
        """What a token stands for in the middle of a text. Only if `is_incremental`."""
        piece: str | bytes = token
        for stage in self._unused_stages:
            if isinstance(piece, bytes):
                break  # what follows changes text, and these bytes may be none by themselves
            piece = stage.inside(piece)
        return piece if isinstance(piece, bytes) else piece.encode("utf-8")


def _flat(step: Mapping[str, object]) -> list[Mapping[str, object]]:
    children = step.get("decoders")
    if step.get("type") != "Sequence" or not isinstance(children, list):
        return [step]
    return [leaf for child in children if isinstance(child, dict) for leaf in _flat(child)]


def _factory(step: Mapping[str, object]) -> Factory | None:
    match step:
        case {"type": "ByteLevel"}:
            return BytesStage
        case {"type": "ByteFallback"}:
            return ByteFallbackStage
        case {"type": "Fuse"}:
            return lambda: TokenStage(lambda token: token)
        case {"type": "Replace", "pattern": {"String": str(pattern)}, "content": str(content)}:
            return lambda: TokenStage(lambda token: token.replace(pattern, content))
        case {"type": "Strip", "content": str(char), "start": int(start), "stop": int(stop)}:
            return lambda: TokenStage(lambda token: _strip(token, char, start, stop))
        case {"type": "Metaspace", "replacement": str(mark)}:
            first = " " if step.get("prepend_scheme", "always") == "never" else ""
            return lambda: FirstTokenStage(mark, first)
        case {"type": "WordPiece", "prefix": str(prefix)}:
            clean = _clean_up if step.get("cleanup") is True else str
            return lambda: WordPieceStage(prefix, clean)
        case {"type": "BPEDecoder", "suffix": str(suffix)}:
            return lambda: SuffixStage(suffix)
    return None


def _fused_factory(step: Mapping[str, object]) -> Factory | None:
    """A step that sees the whole text as one token."""
    match step:
        case {"type": "Strip", "content": str(char), "start": int(start), "stop": 0}:
            return lambda: LeadingStripStage(char, start)
    return None


def _strip(token: str, char: str, start: int, stop: int) -> str:
    first = min(len(token) - len(token.lstrip(char)), start)
    last = len(token) - min(len(token) - len(token.rstrip(char)), stop)
    return token[first:last]


def _clean_up(token: str) -> str:
    for dirty, clean in _REPLACEMENTS_OF_CLEANUP:
        token = token.replace(dirty, clean)
    return token
