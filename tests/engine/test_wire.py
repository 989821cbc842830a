from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.wire import (
    MAX_FRAME_BYTES,
    BrokenWire,
    FrameSplitter,
    pack_commands,
    pack_frame,
    unpack_commands,
    unpack_frame,
)


@given(st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=6), st.integers(1, 30))
def test_frames_come_out_whole_however_the_bytes_are_cut(
    frames: list[list[bytes]], size: int
) -> None:
    data = b"".join(map(pack_commands, frames))
    splitter = FrameSplitter()
    bodies = [
        body for at in range(0, len(data), size) for body in splitter.feed(data[at : at + size])
    ]
    assert [unpack_commands(body) for body in bodies] == frames


def test_a_frame_of_events_keeps_order_and_addresses() -> None:
    frame = [("a", b"1"), ("", b"2"), ("a", b"3")]
    (body,) = FrameSplitter().feed(pack_frame(frame))
    assert unpack_frame(body) == frame


def test_an_absurd_length_is_no_allocation_but_an_end() -> None:
    with pytest.raises(BrokenWire):
        FrameSplitter().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "little"))


@pytest.mark.parametrize("unpack", [unpack_commands, unpack_frame])
def test_bytes_that_are_no_frame_are_refused(unpack: object) -> None:
    with pytest.raises(BrokenWire):
        unpack(b"\xc1")  # type: ignore[operator]
