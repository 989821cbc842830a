"""How people word things: a small grammar of phrasings, and the way visitors type them.

A phrasing file has `[intent]` headings and one phrasing a line. `(a|b|)` chooses, `{slot}` is filled
in, a line that ends in `?` is a question. Whole lines are held out for the test by their checksum, so
that the test measures wordings the model never saw, not only new words in old sentences.
"""

import re
import zlib
from functools import cache
from pathlib import Path
from random import Random

FOLDER = Path(__file__).with_name("phrasings")
HELD_OUT_OF = 9
FEWEST_LINES_TO_HOLD_OUT = 6

TOKEN = re.compile(r"[(|)]|\{\w+\}|[^(|){}]+")


def held_out(text: str, out_of: int = HELD_OUT_OF) -> bool:
    """Whether `text` belongs to the test; the same on every machine."""
    return zlib.crc32(text.encode()) % out_of == 0


@cache
def intents() -> dict[str, list[str]]:
    """All phrasing lines by intent."""
    found: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*.txt")):
        lines: list[str] = []
        for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
            if line.startswith("["):
                lines = found.setdefault(line.strip("[]"), [])
            elif line and not line.startswith("#"):
                lines.append(line)
    return found


@cache
def lines_of(intent: str, test: bool) -> tuple[str, ...]:
    """The phrasings of an intent that this split may use."""
    lines = intents()[intent]
    if len(lines) < FEWEST_LINES_TO_HOLD_OUT:
        return tuple(lines)
    chosen = tuple(line for line in lines if held_out(line) == test)
    return chosen or tuple(lines)


def expand(line: str, rng: Random) -> list[str]:
    """One sample of a line: literals and `{slot}` pieces in order."""
    stack: list[list[list[str]]] = [[[]]]
    for token in TOKEN.findall(line):
        if token == "(":
            stack.append([[]])
        elif token == "|":
            stack[-1].append([])
        elif token == ")":
            choice = rng.choice(stack.pop())
            stack[-1][-1].extend(choice)
        else:
            stack[-1][-1].append(token)
    return _merged(stack[0][0])


def _merged(pieces: list[str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and "{" not in (piece[0], merged[-1][0]):
            merged[-1] += piece
        else:
            merged.append(piece)
    return [re.sub(" +", " ", piece) for piece in merged]


KEYS_NEAR = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "kp", "m": "n", "n": "bm", "o": "ip", "p": "ol",
    "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "xs",
}  # fmt: skip


def typo(word: str, rng: Random) -> str:
    """One slip of the finger inside `word`."""
    at = rng.randrange(1, len(word))
    kind = rng.randrange(4)
    if kind == 0 and at + 1 < len(word):
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at - 1] + word[at:]
    return word[:at] + rng.choice(KEYS_NEAR.get(word[at], "e")) + word[at + 1 :]


class Speaker:
    """Chooses wordings for one split; owns the randomness of the data."""

    def __init__(self, rng: Random, test: bool = False) -> None:
        self.rng = rng
        self.test = test

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def line(self, intent: str, **slots: object) -> str:
        """A clean wording: no slips, no wrappers. For system prompts, facts and descriptions."""
        pieces = expand(self.rng.choice(lines_of(intent, self.test)), self.rng)
        return _tidy([str(slots[p[1:-1]]) if p.startswith("{") else p for p in pieces])

    def say(self, intent: str, **slots: object) -> str:
        """A wording as a visitor types it: polite, hasty, lower-case or with slips."""
        pieces = expand(self.rng.choice(lines_of(intent, self.test)), self.rng)
        question = pieces[-1].endswith("?")
        if self.chance(0.22):
            pieces = self._wrapped(pieces, question)
        pieces = self._typed(pieces)
        filled = [str(slots[p[1:-1]]) if p.startswith("{") else p for p in pieces]
        open_end = pieces[-1].startswith("{")
        return _tidy(filled) if open_end else self._ended(_tidy(filled), question)

    def _wrapped(self, pieces: list[str], question: bool) -> list[str]:
        first = pieces[0].split(" ", 1)[0].lower()
        if self.chance(0.5):
            ask = question and first in {"what", "where", "who", "how", "which", "when", "whose"}
            do = not question and not pieces[0].startswith("{")
            kind = "ask_prefix" if ask else "do_prefix" if do else "any_prefix"
            kind = "any_prefix" if self.chance(0.3) else kind
            pieces = [self.line(kind) + " ", *pieces]
        if self.chance(0.6) and not pieces[-1].startswith("{"):
            body = pieces[-1].rstrip("?")
            pieces = [*pieces[:-1], body, " " + self.line("suffix") + ("?" if question else "")]
        return pieces

    def _typed(self, pieces: list[str]) -> list[str]:
        case = self.rng.random()
        slips = self.rng.randint(1, 2) if self.chance(0.1) else 0
        no_apostrophe = self.chance(0.2)
        result = []
        for index, piece in enumerate(pieces):
            if not piece.startswith("{"):
                if no_apostrophe:
                    piece = piece.replace("'", "")
                if slips:
                    piece, slips = self._slipped(piece, slips)
                if case < 0.015:
                    piece = piece.upper()
                elif case < 0.4:
                    piece = piece.lower()
                elif index == 0:
                    piece = piece[:1].upper() + piece[1:]
            result.append(piece)
        return result

    def _slipped(self, piece: str, slips: int) -> tuple[str, int]:
        words = piece.split(" ")
        long = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
        for index in self.rng.sample(long, min(slips, len(long))):
            words[index] = typo(words[index], self.rng)
            slips -= 1
        return " ".join(words), slips

    def _ended(self, text: str, question: bool) -> str:
        dice = self.rng.random()
        if question:
            text = text.rstrip("?")
            return text + (
                "?" if dice < 0.62 else "" if dice < 0.92 else " ?" if dice < 0.96 else "??"
            )
        if text[-1].isalnum() and dice < 0.35:
            return text + ("." if dice < 0.28 else "!")
        return text


def _tidy(pieces: list[str]) -> str:
    text = ""
    for piece in pieces:
        if (not text or text.endswith((" ", "\n"))) and piece.startswith(" "):
            piece = piece.lstrip(" ")
        text += piece
    return re.sub(r" ([?.!,:])(?=\s|$)", r"\1", text.strip(" ").replace("\\n", "\n"))
