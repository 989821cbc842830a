"""Finds one tag in streamed text, at the speed of `str.find`."""

from __future__ import annotations

import re

SPACE = re.compile(r"\s*")
"""As `end_of` takes it."""


class TagFinder:
    """Gives out the text that is certainly before the tag, and where the tag ends.

    Only an end that may begin the tag is held back. However the text is split, what is given out
    joined is the same. It can be used again after each match: `StopMatcher` ends at its first.
    """

    def __init__(self, tag: str) -> None:
        """Raises ValueError for an empty tag."""
        if not tag:
            raise ValueError("a tag is empty")
        self._tag = tag
        self._beginnings = tuple(tag[:n] for n in range(len(tag) - 1, 0, -1))
        self._held = ""

    def find(self, text: str, place: int = 0) -> tuple[str, int | None]:
        """Take `text` from `place` on; give what is before the tag, and the place behind the tag.

        The place is None if no tag is complete; then all of `text` has been taken.
        """
        num_held, num_tag = len(self._held), len(self._tag)
        if num_held:
            # A tag that was cut between two pushes: no more of the text can be part of it.
            seam = self._held + text[place : place + num_tag - 1]
            begin = seam.find(self._tag)
            if begin >= 0:
                self._held = ""
                return seam[:begin], place + begin + num_tag - num_held
        held, self._held = self._held, ""
        begin = text.find(self._tag, place)
        if begin >= 0:
            return held + text[place:begin], begin + num_tag
        known = held + text[place:] if held or place else text
        if known.endswith(self._beginnings):
            self._held = next(part for part in self._beginnings if known.endswith(part))
            known = known[: len(known) - len(self._held)]
        return known, None

    def finish(self) -> str:
        """The text has ended: give what was held back, which is no tag."""
        held, self._held = self._held, ""
        return held


def end_of(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where a match that may be empty ends."""
    match = pattern.match(text, place)
    return match.end() if match else place
