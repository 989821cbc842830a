"""What a tool parser gives out: content and calls, in the order of the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text.tool_parsers.base import ContentDelta, ToolCallArguments, ToolCallStart

if TYPE_CHECKING:
    from engine.text.tool_parsers.base import Delta


class AnswerDeltas:
    """Collects the deltas of one message until they are taken.

    White space alone before, between and behind calls is dropped: it is held until text follows
    it. Indices of calls count from 0 without gaps. Never raises.
    """

    def __init__(self) -> None:
        self.num_calls = 0
        self._deltas: list[Delta] = []
        self._blanks: list[str] = []
        self._is_in_text = False

    def give_content(self, text: str) -> None:
        if self._is_in_text and text:
            self._deltas.append(ContentDelta(text))
        elif text and not text.isspace():
            self._deltas.append(ContentDelta("".join([*self._blanks, text])))
            self._blanks = []
            self._is_in_text = True
        elif text:
            self._blanks.append(text)

    def start_call(self, name: str) -> None:
        self._deltas.append(ToolCallStart(self.num_calls, name))
        self.num_calls += 1
        self._blanks = []
        self._is_in_text = False

    def give_arguments(self, text: str) -> None:
        """More of the arguments of the call that was started last."""
        if text:
            self._deltas.append(ToolCallArguments(self.num_calls - 1, text))

    def drop_blanks(self) -> None:
        """The white space so far stands before a mark, and no text can follow it."""
        self._blanks = []

    def end(self) -> None:
        """The message is over: white space that is all of it is content after all."""
        if self._blanks and not self.num_calls:
            self._deltas.append(ContentDelta("".join(self._blanks)))
        self._blanks = []

    def take(self) -> list[Delta]:
        """What was given since the last time, neighbours of a kind as one."""
        taken: list[Delta] = []
        texts: list[str] = []
        for place, delta in enumerate(self._deltas):
            if isinstance(delta, ToolCallStart):
                taken.append(delta)
                continue
            texts.append(delta.text)
            following = self._deltas[place + 1] if place + 1 < len(self._deltas) else None
            if type(following) is type(delta):
                continue
            joined = "".join(texts)
            texts = []
            if isinstance(delta, ToolCallArguments):
                taken.append(ToolCallArguments(delta.index, joined))
            else:
                taken.append(ContentDelta(joined))
        self._deltas = []
        return taken
