"""No character of a stop string goes out, whatever the split."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.stop_matcher import StopMatcher


def brute_force(stops: tuple[str, ...], text: str) -> tuple[str, bool]:
    """Read character by character; the first moment at which some stop string is complete."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@settings(max_examples=1500, deadline=None)
@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4).map(tuple),
    pieces=st.lists(st.text("abc", max_size=5), max_size=12),
)
def test_it_equals_brute_force_on_the_joined_text(
    stops: tuple[str, ...], pieces: list[str]
) -> None:
    matcher = StopMatcher(stops)
    text, is_matched, given = "".join(pieces), False, ""
    expected, is_expected = brute_force(stops, text)
    for piece in pieces:
        out, is_matched = matcher.push(piece)
        given += out
        assert expected.startswith(given)
        if is_matched:
            break
    assert given + ("" if is_matched else matcher.finish()) == expected
    assert is_matched == is_expected


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    matcher = StopMatcher(("\n\nUser:", "END"))
    assert matcher.push("Hello\n") == ("Hello", False)
    assert matcher.push("world EN") == ("\nworld ", False)
    assert matcher.push("TER") == ("ENTER", False)
    assert matcher.push("\n\nUse") == ("", False)
    assert matcher.finish() == "\n\nUse"


def test_a_match_is_final() -> None:
    matcher = StopMatcher(("stop",))
    assert matcher.push("do st") == ("do ", False)
    assert matcher.push("op now stop") == ("", True)
    assert matcher.push("more") == ("", True)
    assert matcher.finish() == ""


def test_without_stop_strings_everything_passes() -> None:
    assert StopMatcher(()).push("x") == ("x", False)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopMatcher(("a", ""))


def test_near_matches_cost_linear_time() -> None:
    stops = tuple("a" * (256 - n) + "b" for n in range(16))
    matcher = StopMatcher(stops)
    begin = time.thread_time()
    for _ in range(2000):
        matcher.push("a" * 100)
    assert time.thread_time() - begin < 2.0
