"""Reasoning between two tags, as DeepSeek-R1, Qwen3, SmolLM3, GLM-4.5 and Granite write it.

``<think>\\nLet me see.\\n</think>\\n\\nThe answer is 4.``
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from engine.text.reasoning_parsers.base import ReasoningDelta
from engine.text.tag_finder import SPACE, TagFinder, end_of
from engine.text.tool_parsers.base import ContentDelta

if TYPE_CHECKING:
    from collections.abc import Callable

_OPENING = "<think>"
_CLOSING = "</think>"
_NEWLINES = re.compile(r"\n*")


class ThinkFormat(msgspec.Struct, frozen=True):
    """The two tags of a family of models."""

    name: str = "think"
    opening: str = _OPENING
    closing: str = _CLOSING
    keeps_special_tokens: bool = False

    def is_used_by(self, template_source: str) -> bool:
        """Either tag is enough: many templates only take the reasoning out of old messages."""
        return self.opening in template_source or self.closing in template_source

    def is_opened_by(self, prompt_text: str) -> bool:
        """Whether the prompt ends with the opening tag, white space behind it aside."""
        return prompt_text.rstrip().endswith(self.opening)

    def new(self, is_open: bool, *, keeps_calls: bool = False) -> ThinkParser:
        """Calls are in the content, which stays as it is."""
        return ThinkParser(self.opening, self.closing, is_open=is_open)


class ThinkParser:
    """The reasoning and the content of one message.

    - With `is_open` the prompt has written the opening tag; if the message begins with one all
      the same, it is swallowed. Without, a message has reasoning only if it begins with the tag,
      white space aside; otherwise all of it is content, later tags included.
    - Newlines behind the opening tag and on both sides of the closing one are dropped: templates
      put them back. No other character is lost, but for white space before the opening tag.
    - Only what may be part of a tag, or of the newlines at one, is held back. A message that ends
      inside the reasoning is reasoning to its last character.

    However the text is split, the deltas joined are the same. The cost is linear.
    """

    def __init__(self, opening: str = _OPENING, closing: str = _CLOSING, *, is_open: bool) -> None:
        """Raises ValueError for an empty tag."""
        if not opening:
            raise ValueError("a tag is empty")
        self._opening = opening
        self._closing = TagFinder(closing)
        self._is_open = is_open
        self._read: Callable[[str, int], int] = self._read_start
        self._blanks: list[str] = []  # white space that is content if no opening tag follows it
        self._begun = ""  # what may become the opening tag
        self._num_newlines = 0  # those that are reasoning if no closing tag follows them
        self._reasoning: list[str] = []
        self._content: list[str] = []

    @property
    def is_reasoning(self) -> bool:
        """Whether the reasoning has begun, by its whole opening tag, and is not closed."""
        return self._is_open

    def push(self, text: str) -> list[ReasoningDelta | ContentDelta]:
        """Take more of the message's text; give what is certain."""
        self._read_all(text)
        return self._take_deltas()

    def finish(self) -> list[ReasoningDelta | ContentDelta]:
        """The message has ended: give the rest."""
        begun, self._begun = self._begun, ""
        if self._is_open:
            self._read = self._read_reasoning
            self._read_all(begun)
            self._reasoning += ["\n" * self._num_newlines, self._closing.finish()]
        else:
            self._content += [*self._blanks, begun]
        return self._take_deltas()

    def _read_all(self, text: str) -> None:
        place = 0
        while place < len(text):
            place = self._read(text, place)

    def _take_deltas(self) -> list[ReasoningDelta | ContentDelta]:
        deltas: list[ReasoningDelta | ContentDelta] = []
        if self._reasoning:
            if text := "".join(self._reasoning):
                deltas.append(ReasoningDelta(text))
            self._reasoning = []
        if self._content:
            if text := "".join(self._content):
                deltas.append(ContentDelta(text))
            self._content = []
        return deltas

    def _read_start(self, text: str, place: int) -> int:
        """White space, then perhaps the opening tag."""
        if not self._begun:
            end = end_of(_NEWLINES if self._is_open else SPACE, text, place)
            if not self._is_open:
                self._blanks.append(text[place:end])
            place = end
        num_missing = len(self._opening) - len(self._begun)
        self._begun += text[place : place + num_missing]
        end = min(place + num_missing, len(text))
        if self._begun == self._opening:
            self._begun, self._blanks = "", []
            self._is_open = True
            self._read = self._read_first_newlines
        elif not self._opening.startswith(self._begun):
            self._read_other_start()
        return end

    def _read_other_start(self) -> None:
        """No opening tag after all."""
        begun, self._begun = self._begun, ""
        if self._is_open:
            self._read = self._read_reasoning
            self._read_all(begun)
        else:
            self._content += [*self._blanks, begun]
            self._blanks = []
            self._read = self._read_content

    def _read_first_newlines(self, text: str, place: int) -> int:
        """Behind the opening tag."""
        end = end_of(_NEWLINES, text, place)
        if end < len(text):
            self._read = self._read_reasoning
        return end

    def _read_reasoning(self, text: str, place: int) -> int:
        before, end = self._closing.find(text, place)
        kept = before.rstrip("\n")
        if kept:
            self._reasoning.append("\n" * self._num_newlines + kept)
            self._num_newlines = 0
        self._num_newlines += len(before) - len(kept)
        if end is None:
            return len(text)
        self._num_newlines = 0
        self._is_open = False
        self._read = self._read_last_newlines
        return end

    def _read_last_newlines(self, text: str, place: int) -> int:
        """Behind the closing tag."""
        end = end_of(_NEWLINES, text, place)
        if end < len(text):
            self._read = self._read_content
        return end

    def _read_content(self, text: str, place: int) -> int:
        self._content.append(text[place:])
        return len(text)
