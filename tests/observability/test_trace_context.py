import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.trace_context import TraceContext
from tests.observability.records import CountingBytes

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
VALID = f"00-{TRACE_ID}-{SPAN_ID}-01"


def read(traceparent: str | None, tracestate: str | None = None) -> TraceContext:
    return TraceContext.from_headers(traceparent, tracestate, CountingBytes())


def test_a_valid_traceparent_is_joined() -> None:
    context = read(VALID)
    assert context.trace_id == TRACE_ID
    assert context.parent_span_id == SPAN_ID
    assert context.sampled is True
    assert context.span_id == f"{1:016x}"
    assert context.traceparent == f"00-{TRACE_ID}-{context.span_id}-01"


@pytest.mark.parametrize("flags", ["00", "02", "fe"])
def test_an_unsampled_parent_stays_unsampled(flags: str) -> None:
    context = read(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert context.sampled is False
    assert context.traceparent.endswith("-00")


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_unknown_flags_beside_sampled_are_not_handed_on(flags: str) -> None:
    context = read(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert context.sampled is True
    assert context.traceparent.endswith("-01")


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert read(f"01-{TRACE_ID}-{SPAN_ID}-01").trace_id == TRACE_ID
    assert read(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-brings").trace_id == TRACE_ID


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        VALID.upper(),
        VALID[:-1],
        VALID + "0",
        VALID + "-",
        VALID + "-extra",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"01-{TRACE_ID}-{SPAN_ID}-01extra",
        f"0-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-0x",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
        f"{VALID},{VALID}",
        VALID + "\n",
        VALID.replace("4", "\u0664"),  # an Arabic digit four
        f"cc-{TRACE_ID}-{SPAN_ID}-01-" + "x" * 10_000,
    ],
)
def test_an_invalid_traceparent_starts_a_new_trace_and_voids_the_tracestate(
    header: str | None,
) -> None:
    context = read(header, "vendor=1")
    assert context == TraceContext(trace_id=f"{1:032x}", span_id=f"{2:016x}")
    assert context.traceparent == f"00-{1:032x}-{2:016x}-01"


def test_all_zero_random_bytes_are_drawn_again() -> None:
    drawn = iter([bytes(16), b"\x01" * 16, bytes(8), bytes(8), b"\x02" * 8])
    context = TraceContext.from_headers(None, None, lambda _: next(drawn))
    assert (context.trace_id, context.span_id) == ("01" * 16, "02" * 8)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("vendor=1", "vendor=1"),
        (" a=1 ,\tb=2,, c=x y ", "a=1,b=2,c=x y"),
        ("0tenant@system=v", "0tenant@system=v"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a", ""),
        ("a=b=c", ""),
        ("a=\u00e9", ""),
        ("a=1\r\nx: y", ""),
        (",".join(f"k{i}=v" for i in range(32)), ",".join(f"k{i}=v" for i in range(32))),
        (",".join(f"k{i}=v" for i in range(33)), ""),
        ("a=" + "x" * 256, "a=" + "x" * 256),
        ("a=" + "x" * 257, ""),
    ],
)
def test_a_tracestate_is_kept_whole_or_dropped_whole(header: str, expected: str) -> None:
    assert read(VALID, header).tracestate == expected


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?"), st.text())
def test_whatever_the_headers_say_the_context_is_valid(traceparent: str, tracestate: str) -> None:
    context = read(traceparent, tracestate)
    assert re.fullmatch(
        r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", context.traceparent
    )
    assert context.tracestate.isascii()
    assert (context.parent_span_id is None) == (context.sampled is None)


@given(st.binary(min_size=16, max_size=16).filter(any), st.booleans())
def test_what_we_hand_on_the_next_one_joins(trace_id: bytes, sampled: bool) -> None:
    ours = TraceContext(trace_id.hex(), SPAN_ID, parent_span_id=SPAN_ID, sampled=sampled)
    theirs = read(ours.traceparent)
    assert (theirs.trace_id, theirs.parent_span_id, theirs.sampled) == (
        ours.trace_id,
        ours.span_id,
        sampled,
    )
