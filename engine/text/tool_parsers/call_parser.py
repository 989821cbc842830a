"""What the parsers of all formats share in which marks surround each call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from engine.text.tag_finder import SPACE, end_of
from engine.text.tool_parsers.answer_deltas import AnswerDeltas
from engine.text.tool_parsers.json_scanner import JsonScanner

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.text.tool_parsers.base import Delta

MAX_MALFORMED = 100


class CallParser(ABC):
    """Content, an opening mark, a call, closing marks, and so on. A format adds `_find_call`.

    - Content goes out at once, but for an end that may begin the opening mark. White space alone
      before, between and behind calls is dropped.
    - What is no call, or is cut off before its start went out, is content, to the last character.
    - A call that turns out broken after its start keeps the arguments that went out; the rest is
      content from the fault on.
    - Missing closing marks are forgiven. After 100 malformed calls everything is content, which
      keeps the cost of a hostile text linear.

    However the text is split, the deltas joined are the same.
    """

    def __init__(self, closings: tuple[str, ...] = ()) -> None:
        """`closings`: the marks behind a call, in their order, each at most once."""
        self._answer = AnswerDeltas()
        self._read: Callable[[str, int], int] = self._read_content
        self._num_malformed = 0
        self._scanner = JsonScanner()
        self._opened = ""  # the opening mark, while it is content if no call follows it
        self._held: list[str] = []  # what was read of a call and has not gone out
        self._closings = closings
        self._missing = closings  # those that may still come
        self._closing = ""  # what was read of one

    def push(self, text: str) -> list[Delta]:
        """Take more of the message's text; give what is certain."""
        self._read_all(text)
        return self._answer.take()

    def finish(self) -> list[Delta]:
        """The message has ended: give the rest. What is left of a closing mark belongs to a call
        that is complete."""
        self._answer.give_content(self._opened + self._unread())
        self._answer.end()
        return self._answer.take()

    @abstractmethod
    def _find_call(self, text: str, place: int) -> int:
        """Give what is content, up to the end of `text` or to where a call may begin: then set
        `_opened` and `_read` to what reads it. The place behind what was taken."""

    def _unread(self) -> str:
        return "".join(self._held)

    def _read_all(self, text: str) -> None:
        place = 0
        while place < len(text):
            place = self._read(text, place)

    def _read_content(self, text: str, place: int) -> int:
        if self._num_malformed >= MAX_MALFORMED:
            self._answer.give_content(text[place:])
            return len(text)
        return self._find_call(text, place)

    def _start_call(self, name: str) -> None:
        self._opened, self._held = "", []
        self._answer.start_call(name)

    def _start_object(self, name: str) -> None:
        """A call whose arguments follow as a JSON object, which is streamed."""
        self._start_call(name)
        self._scanner = JsonScanner()
        self._read = self._read_arguments

    def _read_arguments(self, text: str, place: int) -> int:
        end = self._scanner.scan(text, place)
        self._answer.give_arguments(text[place:end])
        if self._scanner.is_done:
            self._end_call()
        elif self._scanner.is_failed:
            self._give_back()
        return end

    def _end_call(self) -> None:
        self._opened, self._held = "", []
        self._missing = self._closings
        self._read = self._read_closing

    def _give_back(self, text: str = "") -> None:
        """No call, or no longer one: `text` is content, and what is held is read once more, for
        a call may begin in it."""
        self._num_malformed += 1
        opened, held = self._opened, self._unread()
        self._opened, self._held = "", []
        self._read = self._read_content
        self._answer.give_content(opened + text)
        self._read_all(held)

    def _read_closing(self, text: str, place: int) -> int:
        """White space and closing marks; anything else is content already."""
        if not self._closing:
            end = end_of(SPACE, text, place)
            self._answer.give_content(text[place:end])
            if end == len(text):
                return end
            place = end
            # Whole marks at once; only one that is cut between pushes is read by characters.
            mark = next((mark for mark in self._missing if text.startswith(mark, place)), "")
            if mark:
                self._end_closing(mark)
                return place + len(mark)
        begun, self._closing = self._closing, self._closing + text[place]
        if self._closing in self._missing:
            self._end_closing(self._closing)
        elif not any(mark.startswith(self._closing) for mark in self._missing):
            self._closing = ""
            self._read = self._read_content
            self._read_all(begun)
            return place
        return place + 1

    def _end_closing(self, mark: str) -> None:
        self._missing = self._missing[self._missing.index(mark) + 1 :]
        self._closing = ""
        self._answer.drop_blanks()
