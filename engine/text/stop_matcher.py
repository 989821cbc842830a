"""Finds stop strings in streamed text. Pure text: it knows nothing of tokens."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class StopMatcher:
    """Gives out text that is certainly before any stop string, and never a character of one.

    The match is the stop string that is complete first, as a reader of the stream would see it;
    of several that end at the same character, the longest. How the text is split into pushes
    changes nothing. An Aho-Corasick automaton: one table look-up per character.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Raises ValueError for an empty stop string."""
        if not all(stops):
            raise ValueError("a stop string is empty")
        self._stops = stops
        self._table = _Automaton(stops)
        self._state = 0
        self._held = ""
        self._is_matched = False

    def push(self, text: str) -> tuple[str, bool]:
        """Take more text; give the text that may go out, and whether a stop string is complete.

        After a match everything pushed is swallowed, and the answer stays True.
        """
        if not self._stops:
            return text, False
        if self._is_matched:
            return "", True
        known = self._held + text
        end = self._advance(text)
        if end is not None:
            self._is_matched = True
            self._held, num_held = "", len(self._held)
            return known[: num_held + end - self._table.match_lengths[self._state]], True
        num_final = len(known) - self._table.depths[self._state]
        self._held = known[num_final:]
        return known[:num_final], False

    def finish(self) -> str:
        """The text has ended: give what was held back, which is no stop string."""
        held, self._held = self._held, ""
        return held

    def _advance(self, text: str) -> int | None:
        """Feed the automaton; the length of `text` up to the end of the first match."""
        state, table = self._state, self._table
        for place, char in enumerate(text):
            state = table.step(state, char)
            if table.match_lengths[state]:
                self._state = state
                return place + 1
        self._state = state
        return None


class _Automaton:
    """State = the longest end of the text that begins a stop string; state 0 is none.

    `depths` are the lengths of those ends; `match_lengths` the longest stop string that ends
    there, 0 for none.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self.depths = [0]
        self.match_lengths = [0]
        self._fallbacks = [0]
        for stop in stops:
            self._insert(stop)
        self._link()

    def step(self, state: int, char: str) -> int:
        while (following := self._next[state].get(char)) is None:
            if not state:
                return 0
            state = self._fallbacks[state]
        return following

    def _insert(self, stop: str) -> None:
        state = 0
        for char in stop:
            following = self._next[state].get(char)
            if following is None:
                following = self._next[state][char] = len(self._next)
                self._next.append({})
                self.depths.append(self.depths[state] + 1)
                self.match_lengths.append(0)
                self._fallbacks.append(0)
            state = following
        self.match_lengths[state] = len(stop)

    def _link(self) -> None:
        """Set the fallbacks, shortest ends first, as each depends on shorter ones."""
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            for char, following in self._next[state].items():
                self._fallbacks[following] = self.step(self._fallbacks[state], char)
                queue.append(following)
            inherited = self.match_lengths[self._fallbacks[state]]
            self.match_lengths[state] = max(self.match_lengths[state], inherited)
