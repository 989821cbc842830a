"""Hides control text in user strings while a chat template is rendered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.text.errors import PromptUnencodable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# The two private-use planes, without their noncharacters (two of which are the barrier).
_PRIVATE_PLANES = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
_PRIVATE_CHAR = re.compile("[\U000f0000-\U000ffffd\U00100000-\U0010fffd]")


class Disguise:
    """Stands in for each character of hidden text by a private-use character of its own.

    Every character is marked by itself, so whatever a template does to a string (strips, slices
    or splits it), what is left of hidden text is still known as such, and never reads as a
    control token. The stand-ins occur in none of the `texts` of this rendering.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        taken = {char for text in texts for char in _PRIVATE_CHAR.findall(text)}
        self._free = _free_chars(taken)
        self._stand_ins: dict[str, str] = {}
        self._originals: dict[str, str] = {}

    def hide(self, text: str, spans: Sequence[tuple[int, int]]) -> str:
        """`text` with the characters of `spans` (ordered, apart) replaced.

        Raises PromptUnencodable when the private characters run out: a text that uses them all.
        """
        pieces = []
        position = 0
        for start, end in spans:
            pieces.append(text[position:start])
            pieces += map(self._stand_in, text[start:end])
            position = end
        pieces.append(text[position:])
        return "".join(pieces)

    def covers(self, text: str) -> bool:
        """Whether any character of `text` stands in for a hidden one."""
        return any(char in self._originals for char in text)

    def reveal(self, text: str, *, after_each: str = "") -> str:
        """The original text, with `after_each` behind every character that was hidden."""
        table = {ord(mark): char + after_each for mark, char in self._originals.items()}
        return text.translate(table)

    def _stand_in(self, char: str) -> str:
        mark = self._stand_ins.get(char)
        if mark is None:
            mark = next(self._free, None)
            if mark is None:
                raise PromptUnencodable("the prompt uses every private-use character there is")
            self._stand_ins[char] = mark
            self._originals[mark] = char
        return mark


def _free_chars(taken: set[str]) -> Iterator[str]:
    for plane in _PRIVATE_PLANES:
        for code_point in plane:
            char = chr(code_point)
            if char not in taken:
                yield char
