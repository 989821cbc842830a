"""What one rendering of a chat template may use: time, and memory for the values it makes."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, Set, ValuesView
from typing import TYPE_CHECKING

from jinja2.exceptions import SecurityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SCALARS = frozenset({str, int, float, bool, type(None)})
"""Types without parts, exactly: they cost as much as they look."""

CHARS_PER_MADE_ITEM = 32
"""A reference in a list, and the small object that it is to."""

MAX_NUMBER_BITS = 4096

_ROUNDS_BETWEEN_LOOKS = 100
_LARGEST_VALUES = 16  # a rendering makes as many values of the largest size, or more smaller ones
_CHARS_PER_ROUND = 1024  # a built-in operation on so many characters counts as one more round
_CHARS_PER_ITEM = 8  # a reference in a list
_CHARS_PER_ENTRY = 64  # a place in a dict
_CHARS_AROUND = 4  # what separates a part from the next one
_MAX_DEPTH = 1000  # C code without a check of its own recurses on values, and so ends the process
_TEXTS = (str, bytes)  # a tuple is quicker than a union
_LISTS = (list, tuple)
_WITH_PARTS = (list, tuple, Set, KeysView, ValuesView, ItemsView)


class RenderBudget:
    """One rendering's, on one thread. Every method raises SecurityError once it is used up.

    Sizes are in characters; what a value keeps in memory but characters is converted.
    """

    __slots__ = (
        "_clock",
        "_deadline",
        "_max_s",
        "_num_chars_left",
        "_num_rounds_left",
        "max_chars",
    )

    def __init__(self, max_chars: int, max_s: float, clock: Callable[[], float]) -> None:
        self.max_chars = max_chars
        self._max_s = max_s
        self._clock = clock
        self._deadline = clock() + max_s
        self._num_chars_left = max_chars * _LARGEST_VALUES
        self._num_rounds_left = _ROUNDS_BETWEEN_LOOKS

    def tick(self, num_rounds: int = 1) -> None:
        """Some work is done; now and then look whether there is time left."""
        self._num_rounds_left -= num_rounds
        if self._num_rounds_left <= 0:
            self._look_at_clock()

    def rounds(self, iterable: Iterable[object]) -> Iterator[object]:
        """`iterable`, each item a round of work."""
        for item in iterable:
            self._num_rounds_left -= 1
            if self._num_rounds_left <= 0:
                self._look_at_clock()
            yield item

    def collect(self, iterable: Iterable[object]) -> list[object]:
        """The items of an iterator that makes them, as a list."""
        items = []
        for item in self.rounds(iterable):
            self.charge(CHARS_PER_MADE_ITEM)
            items.append(item)
        self.check(CHARS_PER_MADE_ITEM * len(items))
        return items

    def check(self, num_chars: int) -> None:
        """Refuse a value of that size."""
        if num_chars > self.max_chars:
            raise SecurityError(
                f"a chat template makes a value of more than {self.max_chars} characters or items"
            )

    def charge(self, num_chars: int) -> None:
        """A value of that size is made. Freed ones count on: nobody knows when they are."""
        self._num_chars_left -= num_chars
        self._num_rounds_left -= num_chars // _CHARS_PER_ROUND
        if num_chars > self.max_chars or self._num_chars_left < 0 or self._num_rounds_left <= 0:
            self._settle(num_chars)

    def charge_value(self, value: object) -> None:
        """This value has been made; its parts are others."""
        kind = type(value)
        if kind is str:
            self.charge(len(value))  # type: ignore[arg-type]
        elif kind is int and value.bit_length() > MAX_NUMBER_BITS:  # type: ignore[attr-defined]
            raise SecurityError("a chat template makes a number of thousands of bits")
        elif kind not in SCALARS:
            self.charge(size_of(value))

    def bound(self, value: object) -> None:
        """Before something is done to a value that may follow every reference in it."""
        if type(value) is str:
            self.search(value)
        elif type(value) not in SCALARS:
            self.weigh(value)

    def search(self, value: object) -> None:
        """Before something goes through a value once."""
        if type(value) is not dict:
            self._num_rounds_left -= size_of(value) // _CHARS_PER_ROUND
            if self._num_rounds_left <= 0:
                self._look_at_clock()

    def weigh(self, value: object, indent: int = 0) -> int:
        """About how many characters `value` has as text; what is in it twice counts twice.

        `indent` more for each part and level, as JSON may have. It refuses what is too large or
        too deeply nested, so afterwards it is safe to print, to hash and to compare.
        """
        num_chars = 0
        level: list[object] = [value]
        for depth in range(1, _MAX_DEPTH + 1):
            num_chars += (indent * depth + _CHARS_AROUND) * len(level)
            below: list[object] = []
            for part in level:
                kind = type(part)
                if kind is str:
                    num_chars += len(part)  # type: ignore[arg-type]
                elif kind is dict:
                    below += part  # type: ignore[arg-type]
                    below += part.values()  # type: ignore[attr-defined]
                elif kind in SCALARS or not isinstance(part, _WITH_PARTS):
                    num_chars += _leaf_chars(part)
                else:
                    below += part
                if len(below) > self.max_chars // _CHARS_AROUND:
                    self.check(_CHARS_AROUND * len(below))
            self.check(num_chars)
            self.tick(1 + len(level) // 16)
            if not below:
                return num_chars
            level = below
        raise SecurityError(f"a chat template nests values {_MAX_DEPTH} deep")

    def _settle(self, num_chars: int) -> None:
        self.check(num_chars)
        if self._num_chars_left < 0:
            raise SecurityError(
                f"a chat template makes values of {_LARGEST_VALUES} times {self.max_chars} "
                "characters or items"
            )
        self.tick(0)

    def _look_at_clock(self) -> None:
        if self._clock() > self._deadline:
            raise SecurityError(f"a chat template takes more than {self._max_s} s")
        self._num_rounds_left = _ROUNDS_BETWEEN_LOOKS


def size_of(value: object) -> int:
    """How large one value is by itself; its parts are others."""
    if isinstance(value, _TEXTS):
        return len(value)
    if isinstance(value, _LISTS):
        return _CHARS_PER_ITEM * len(value)
    return _CHARS_PER_ENTRY * len(value) if isinstance(value, dict) else 0


def _leaf_chars(value: object) -> int:
    if isinstance(value, int):
        return value.bit_length() // 3
    if isinstance(value, _TEXTS):
        return len(value)
    return 24 if value is None or isinstance(value, float) else 64
