"""Reasoning as GPT-OSS writes it, in the harmony format: messages in the channel "analysis".

``<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>4.<|return|>``
"""

from __future__ import annotations

from itertools import groupby

import msgspec

from engine.text.harmony import (
    CHANNEL,
    CONSTRAIN,
    ENDS,
    MAX_HEADER_CHARS,
    MESSAGE,
    START,
    Header,
    header_of,
)
from engine.text.mark_finder import MarkFinder
from engine.text.reasoning_parsers.base import ReasoningDelta
from engine.text.tool_parsers.base import ContentDelta

_OPEN = CHANNEL + "analysis" + MESSAGE
_MARKS = (START, CHANNEL, CONSTRAIN, MESSAGE, *ENDS)
_BEGINNINGS = (START, CHANNEL)
_CHANNELS = ("analysis", "commentary", "final")
# What a header that is cut off may be made of, recipients aside.
_BEGUN_WORDS = frozenset(
    word[:n] for word in ("assistant", *_CHANNELS, "json", "code") for n in range(len(word) + 1)
)
# What the words behind each mark of a header begin with, and which marks may follow them. "" is
# where a header begins of which the prompt has written the role: a recipient may be left.
_WORDS = {"": ("to=",), START: ("assistant",), CHANNEL: _CHANNELS, CONSTRAIN: ("",)}
_FOLLOWING = {
    "": (*_BEGINNINGS, MESSAGE),
    START: (CHANNEL, MESSAGE),
    CHANNEL: (CONSTRAIN, MESSAGE),
    CONSTRAIN: (MESSAGE,),
}


class HarmonyFormat(msgspec.Struct, frozen=True):
    """The channels of GPT-OSS. Their marks are special tokens."""

    name: str = "openai_gptoss"
    keeps_special_tokens: bool = True

    def is_used_by(self, template_source: str) -> bool:
        return all(mark in template_source for mark in (CHANNEL, MESSAGE, "analysis"))

    def is_opened_by(self, prompt_text: str) -> bool:
        """Whether the prompt ends with the header of a message in the channel "analysis"."""
        return prompt_text.rstrip().endswith(_OPEN)

    def new(self, is_open: bool, *, keeps_calls: bool = False) -> HarmonyParser:
        return HarmonyParser(is_open=is_open, keeps_calls=keeps_calls)


class HarmonyParser:
    """The reasoning and the content of one answer, which are messages in any order.

    - Messages in the channel "analysis" are reasoning, and so are those to a tool that is no
      function: nobody can answer them. All others are content. Marks and headers are left out, and
      a line break stands between two messages of a kind.
    - With `keeps_calls` the message to a function goes out as it is, marks included, for a tool
      parser to find; without, its text is content like any other.
    - Only what may be a mark or a header is held back. What turns out to be none is text. A header
      that is cut off is dropped; a message that is cut off is kept to its last character.

    However the text is split, the deltas joined are the same. The cost is linear.
    """

    def __init__(self, *, is_open: bool, keeps_calls: bool = False) -> None:
        self._marks = MarkFinder(_MARKS)
        self._keeps_calls = keeps_calls
        self._is_analysis = is_open
        self._is_call = False
        self._is_in_header = not is_open
        self._header = ""  # up to its last mark
        self._mark = ""  # the last one
        self._words = ""  # behind it
        self._is_new = False  # a message has begun and has no text yet
        self._spoken: set[bool] = set()  # the kinds that have text
        self._pieces: list[tuple[bool, str]] = []

    @property
    def is_reasoning(self) -> bool:
        """Whether a message of reasoning has begun, by its whole header, and has not ended."""
        return self._is_analysis and not self._is_in_header

    def push(self, text: str) -> list[ReasoningDelta | ContentDelta]:
        """Take more of the answer's text; give what is certain."""
        place = 0
        while place < len(text):
            before, mark, place = self._marks.find(text, place)
            if before:
                self._take_text(before)
            if mark:
                self._take_mark(mark)
        return self._take_deltas()

    def finish(self) -> list[ReasoningDelta | ContentDelta]:
        """The answer has ended: give the rest."""
        if rest := self._marks.finish():
            self._take_text(rest)
        if self._is_in_header:
            self._cut_header()
        return self._take_deltas()

    def _take_text(self, text: str) -> None:
        if not self._is_in_header:
            self._give(text)
            return
        words = self._words + text[:MAX_HEADER_CHARS]
        known = words.lstrip()
        wanted = _WORDS[self._mark]
        is_fit = known.startswith(wanted) or any(word.startswith(known) for word in wanted)
        if is_fit and len(words) < MAX_HEADER_CHARS:
            self._words = words
        else:
            self._give_header_back()
            self._give(text)

    def _take_mark(self, mark: str) -> None:
        if self._is_in_header and mark not in _FOLLOWING[self._mark]:
            self._cut_header()
        if self._is_in_header and mark == MESSAGE:
            self._begin_message()
        elif mark in ENDS:
            self._end_message(mark)
        elif self._is_in_header or mark in _BEGINNINGS:
            self._header = (self._header + self._words).lstrip() + mark
            self._mark, self._words, self._is_in_header = mark, "", True
        else:
            self._give(mark)

    def _begin_message(self) -> None:
        text = self._header + self._words
        header = header_of(text)
        if header is None or header.channel not in ("", *_CHANNELS):
            self._give_header_back()
            self._give(MESSAGE)
            return
        self._leave_header()
        self._is_call = self._keeps_calls and bool(header.function)
        self._is_analysis = _is_analysis(header)
        self._is_new = not self._is_call
        if self._is_call:
            self._give(text + MESSAGE)

    def _end_message(self, mark: str) -> None:
        if self._is_call:
            self._give(mark)
        self._is_analysis = self._is_call = self._is_new = False
        self._is_in_header = True

    def _cut_header(self) -> None:
        """Its message does not come: it is dropped if all of it is what headers are made of."""
        words = self._words.split()
        if self._mark and all(w in _BEGUN_WORDS or w.startswith("to=") for w in words):
            self._leave_header()
        else:
            self._give_header_back()

    def _give_header_back(self) -> None:
        """It is none, but text of the message before."""
        text = self._header + self._words
        self._leave_header()
        if text:
            self._give(text)

    def _leave_header(self) -> None:
        self._header = self._mark = self._words = ""
        self._is_in_header = False

    def _give(self, text: str) -> None:
        if self._is_new and self._is_analysis in self._spoken:
            text = "\n" + text
        self._is_new = False
        if not self._is_call:
            self._spoken.add(self._is_analysis)
        self._pieces.append((self._is_analysis, text))

    def _take_deltas(self) -> list[ReasoningDelta | ContentDelta]:
        """What was given since the last time, neighbours of a kind as one."""
        pieces, self._pieces = self._pieces, []
        deltas: list[ReasoningDelta | ContentDelta] = []
        for is_analysis, group in groupby(pieces, lambda piece: piece[0]):
            text = "".join(piece for _, piece in group)
            deltas.append(ReasoningDelta(text) if is_analysis else ContentDelta(text))
        return deltas


def _is_analysis(header: Header) -> bool:
    if header.function:
        return False
    return header.channel == "analysis" or header.recipient is not None
