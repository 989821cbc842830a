"""The decoders of the `tokenizers` library as stages: pieces in, pieces out, nothing taken back.

Each stage says which decoder it is, and equals it on the joined pieces for any split.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Stage(Protocol):
    """One step of decoding one text."""

    def push(self, pieces: list[str]) -> list[str]:
        """Take the next pieces; give those that no later piece can change. Changes the stage."""
        ...

    def finish(self) -> list[str]:
        """Give what was held back. Nothing may be pushed afterwards."""
        ...

    def inside(self, piece: str) -> str | bytes:
        """What a piece is in the middle of a text: bytes where it may be part of a character.

        Depends on nothing that was pushed, and changes nothing.
        """
        ...


class TokenStage:
    """Replace, Strip, Fuse: each token by itself."""

    def __init__(self, change: Callable[[str], str]) -> None:
        self._change = change

    def push(self, pieces: list[str]) -> list[str]:
        return [self._change(piece) for piece in pieces]

    def finish(self) -> list[str]:
        return []

    def inside(self, piece: str) -> str:
        return self._change(piece)


class JoinStage:
    """No decoder at all: tokens with a space between them."""

    def __init__(self) -> None:
        self._is_first = True

    def push(self, pieces: list[str]) -> list[str]:
        joined = [self.inside(piece) for piece in pieces]
        if joined and self._is_first:
            self._is_first = False
            joined[0] = pieces[0]
        return joined

    def finish(self) -> list[str]:
        return []

    def inside(self, piece: str) -> str:
        return " " + piece


class FirstTokenStage:
    """Metaspace: the mark is a space, in the first token it is `first`."""

    def __init__(self, mark: str, first: str) -> None:
        self._mark = mark
        self._space = first

    def push(self, pieces: list[str]) -> list[str]:
        changed = []
        for piece in pieces:
            changed.append(piece.replace(self._mark, self._space))
            self._space = " "
        return changed

    def finish(self) -> list[str]:
        return []

    def inside(self, piece: str) -> str:
        return piece.replace(self._mark, " ")


class WordPieceStage:
    """WordPiece: a space before every token but the first and those that continue a word."""

    def __init__(self, prefix: str, clean: Callable[[str], str]) -> None:
        self._prefix = prefix
        self._clean = clean
        self._is_first = True

    def push(self, pieces: list[str]) -> list[str]:
        changed = [self.inside(piece) for piece in pieces]
        if pieces and self._is_first:
            self._is_first = False
            changed[0] = self._clean(pieces[0])
        return changed

    def finish(self) -> list[str]:
        return []

    def inside(self, piece: str) -> str:
        is_inner = piece.startswith(self._prefix)
        return self._clean(piece.replace(self._prefix, "", 1) if is_inner else " " + piece)


class SuffixStage:
    """BPEDecoder: the suffix is a space, in the last token it is nothing. Holds one token."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._held: list[str] = []

    def push(self, pieces: list[str]) -> list[str]:
        known = self._held + pieces
        self._held = known[-1:]
        return [piece.replace(self._suffix, " ") for piece in known[:-1]]

    def finish(self) -> list[str]:
        return [piece.replace(self._suffix, "") for piece in self._held]

    def inside(self, piece: str) -> str:
        return piece.replace(self._suffix, " ")


class LeadingStripStage:
    """Strip after Fuse: up to `num_chars` leading `char`s of the whole text."""

    def __init__(self, char: str, num_chars: int) -> None:
        self._char = char
        self._num_left = num_chars

    def push(self, pieces: list[str]) -> list[str]:
        if not self._num_left:
            return pieces
        text = "".join(pieces)
        stripped = text.lstrip(self._char)
        num_cut = min(len(text) - len(stripped), self._num_left)
        # Any other character ends the stripping for good.
        self._num_left = self._num_left - num_cut if not stripped else 0
        return [text[num_cut:]]

    def finish(self) -> list[str]:
        return []

    def inside(self, piece: str) -> str:
        return piece


class ByteFallbackStage:
    """ByteFallback: a run of tokens such as <0xE4> is one UTF-8 text, or one U+FFFD per token.

    One bad byte turns the whole run into U+FFFD, so a run is held back until it ends.
    """

    def __init__(self) -> None:
        self._run = bytearray()

    def push(self, pieces: list[str]) -> list[str]:
        final: list[str] = []
        for piece in pieces:
            match = _BYTE_TOKEN.fullmatch(piece)
            if match is None:
                final += self.finish()
                final.append(piece)
            else:
                self._run.append(int(match[1], 16))
        return final

    def finish(self) -> list[str]:
        run, self._run = self._run, bytearray()
        if not run:
            return []  # an empty piece would count as a first token further on
        try:
            return [run.decode("utf-8")]
        except UnicodeDecodeError:
            return ["\ufffd"] * len(run)

    def inside(self, piece: str) -> str | bytes:
        match = _BYTE_TOKEN.fullmatch(piece)
        return piece if match is None else bytes([int(match[1], 16)])


class BytesStage:
    """ByteLevel: every character of a token is one byte; a token with others is its own UTF-8.

    The incremental decoder of Python and `from_utf8_lossy` of Rust replace invalid bytes alike.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, pieces: list[str]) -> list[str]:
        return [self._utf8.decode(b"".join(map(_token_bytes, pieces)))]

    def finish(self) -> list[str]:
        return [self._utf8.decode(b"", final=True)]

    def inside(self, piece: str) -> bytes:
        return _token_bytes(piece)


def _byte_characters() -> dict[str, int]:
    """GPT-2's table: printable Latin-1 stands for itself, other bytes for U+0100 upwards."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_characters()


def _token_bytes(token: str) -> bytes:
    try:
        return bytes([_BYTE_OF[char] for char in token])
    except KeyError:
        return token.encode("utf-8")
