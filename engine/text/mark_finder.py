"""Finds the next of several marks in streamed text; `TagFinder` finds one tag."""

from __future__ import annotations

import re


class MarkFinder:
    """Gives out the text that is certainly before a mark, and the mark.

    All marks begin with a character that is nowhere else in them. Only an end that may begin a
    mark is held back. However the text is split, what is given out joined is the same.
    """

    def __init__(self, marks: tuple[str, ...]) -> None:
        """Raises ValueError unless the marks are as above."""
        first = marks[0][:1] if marks else ""
        if not first or any(mark.rfind(first) != 0 for mark in marks):
            raise ValueError("marks must begin with a character that is nowhere else in them")
        self._first = first
        self._pattern = re.compile("|".join(re.escape(mark) for mark in marks))
        self._beginnings = frozenset(mark[:n] for mark in marks for n in range(1, len(mark)))
        self._max_chars = max(len(mark) for mark in marks)
        self._held = ""

    def find(self, text: str, place: int = 0) -> tuple[str, str, int]:
        """Take `text` from `place` on; give what is before a mark, the mark, and the place behind.

        The mark is "" if none is complete; then all of `text` has been taken.
        """
        held, self._held = self._held, ""
        if held:
            # A mark that was cut between two pushes: what is held begins it.
            match = self._pattern.match(held + text[place : place + self._max_chars])
            if match:
                return "", match[0], place + match.end() - len(held)
        match = self._pattern.search(text, place)
        if match:
            return held + text[place : match.start()], match[0], match.end()
        known = held + text[place:] if held or place else text
        begin = known.rfind(self._first, max(len(known) - self._max_chars, 0))
        if begin >= 0 and known[begin:] in self._beginnings:
            known, self._held = known[:begin], known[begin:]
        return known, "", len(text)

    def finish(self) -> str:
        """The text has ended: give what was held back, which is no mark."""
        held, self._held = self._held, ""
        return held
