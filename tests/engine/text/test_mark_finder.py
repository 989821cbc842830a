"""The next of several marks is found wherever the text is cut, and nothing else is lost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.mark_finder import MarkFinder


def parts(marks: tuple[str, ...], pieces: list[str]) -> list[str]:
    """Text and marks in turn."""
    finder, found = MarkFinder(marks), [""]
    for piece in pieces:
        place = 0
        while place < len(piece):
            before, mark, place = finder.find(piece, place)
            found[-1] += before
            if mark:
                found += [mark, ""]
    found[-1] += finder.finish()
    return found


marks = st.lists(st.text("ab", max_size=3).map(lambda rest: "<" + rest), min_size=1, max_size=3)


@settings(max_examples=1500, deadline=None)
@given(marks.map(tuple), st.lists(st.text("<abc", max_size=6), max_size=10))
def test_it_equals_split_on_the_joined_text(marks: tuple[str, ...], pieces: list[str]) -> None:
    # No mark begins another one, as with the marks of real formats.
    marks = tuple(m for m in marks if not any(m != n and m.startswith(n) for n in marks))
    pattern = "(" + "|".join(map(re.escape, marks)) + ")"
    assert parts(marks, pieces) == re.split(pattern, "".join(pieces))


def test_only_what_may_begin_a_mark_is_held_back() -> None:
    finder = MarkFinder(("<|end|>", "<|call|>"))
    assert finder.find("so <|e") == ("so ", "", 6)
    assert finder.find("n") == ("", "", 1)
    assert finder.find("t <|ca") == ("<|ent ", "", 6)
    assert finder.find("ll|>yes") == ("", "<|call|>", 4)
    assert finder.finish() == ""


@pytest.mark.parametrize("marks", [(), ("",), ("<a", "b"), ("<a", "<b<")])
def test_marks_that_do_not_begin_with_a_character_of_their_own_are_refused(
    marks: tuple[str, ...],
) -> None:
    with pytest.raises(ValueError, match="nowhere else"):
        MarkFinder(marks)
