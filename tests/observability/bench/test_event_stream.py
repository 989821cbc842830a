from __future__ import annotations

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from observability.bench.load.event_stream import EventStream
from observability.bench.load.line_buffer import LineBuffer

PAYLOADS = st.lists(st.text(alphabet="ab {}:\u00e9", min_size=1).map(str.strip).filter(bool))


@given(
    payloads=PAYLOADS,
    line_end=st.sampled_from(["\n", "\r\n"]),
    field=st.sampled_from(["data:", "data: "]),
    comment=st.sampled_from(["", ": ping", "id: 7", "retry: 3", "event: message"]),
    cuts=st.lists(st.integers(0, 400)),
)
def test_payloads_come_out_whole_however_the_bytes_are_cut(
    payloads: list[str], line_end: str, field: str, comment: str, cuts: list[int]
) -> None:
    before = comment + line_end if comment else ""
    whole = "".join(f"{before}{field}{text}{line_end}{line_end}" for text in payloads).encode()
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    stream = EventStream()
    found = [
        payload
        for begin, end in itertools.pairwise(edges)
        for payload in stream.feed(whole[begin:end])
    ]
    assert found == [text.encode() for text in payloads]
    assert stream.error is None
    assert stream.num_held_bytes == 0


def test_an_event_of_several_lines_is_one_payload() -> None:
    assert EventStream().feed(b'data: {"a":\ndata: 1}\n\n') == [b'{"a":\n1}']


def test_an_event_without_its_blank_line_is_given_at_the_end() -> None:
    stream = EventStream()
    assert stream.feed(b"data: [DONE]") == []
    assert stream.end() == [b"[DONE]"]


def test_errors_are_told_by_name_and_by_field() -> None:
    by_name, by_field = EventStream(), EventStream()
    assert by_name.feed(b"event: error\ndata: no room\n\n") == []
    assert by_name.error == b"no room"
    assert by_field.feed(b"error: no room\n\n") == []
    assert by_field.error == b"no room"


def test_events_without_a_payload_are_left_out() -> None:
    assert EventStream().feed(b"data: \n\n: hello\n\n\n\n") == []


def test_a_line_that_comes_byte_by_byte_takes_linear_time() -> None:
    lines, begin_s = LineBuffer(), time.process_time()
    for _ in range(200_000):
        assert lines.feed(b"x") == []
    assert lines.feed(b"\n") == [b"x" * 200_000]
    assert time.process_time() - begin_s < 2.0
