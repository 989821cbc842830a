"""A tag is found wherever the text is cut, and nothing else is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.tag_finder import TagFinder


def parts(tag: str, pieces: list[str]) -> list[str]:
    """The text before each tag and behind the last one."""
    finder, found = TagFinder(tag), [""]
    for piece in pieces:
        place: int | None = 0
        while place is not None:
            before, place = finder.find(piece, place)
            found[-1] += before
            if place is not None:
                found.append("")
    found[-1] += finder.finish()
    return found


@settings(max_examples=1500, deadline=None)
@given(st.text("ab", min_size=1, max_size=4), st.lists(st.text("abc", max_size=6), max_size=10))
def test_it_equals_split_on_the_joined_text(tag: str, pieces: list[str]) -> None:
    assert parts(tag, pieces) == "".join(pieces).split(tag)


def test_only_what_may_begin_the_tag_is_held_back() -> None:
    finder = TagFinder("</think>")
    assert finder.find("so </th") == ("so ", None)
    assert finder.find("in") == ("", None)
    assert finder.find("g <") == ("</thing ", None)
    assert finder.find("/think>yes") == ("", 7)
    assert finder.finish() == ""


def test_an_empty_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        TagFinder("")
