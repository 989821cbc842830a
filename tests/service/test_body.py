"""Bodies: limits, deadlines, and what the decoder's faults become."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from service.body import BodyLimits, decode, is_nested_deeper, read, read_json
from service.errors import (
    BadRequest,
    PayloadTooLarge,
    Timeout,
    UnsupportedMediaType,
    ValidationFault,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message

LIMITS = BodyLimits(max_bytes=10, max_drain_bytes=20, max_stall_s=0.02)


class Upload:
    """A body in pieces; `is_cut` hangs up instead of ending, `is_stuck` does neither."""

    def __init__(self, *pieces: bytes, is_cut: bool = False, is_stuck: bool = False) -> None:
        self.pieces = list(pieces)
        self._is_cut = is_cut
        self._is_stuck = is_stuck

    async def receive(self) -> Message:
        if self.pieces:
            more = len(self.pieces) > 1 or self._is_cut or self._is_stuck
            return {"type": "http.request", "body": self.pieces.pop(0), "more_body": more}
        if self._is_stuck:
            await anyio.sleep_forever()
        return {"type": "http.disconnect"}


def request_of(body: bytes, headers: Sequence[tuple[str, str]]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "headers": raw}, Upload(body).receive)


async def test_the_pieces_are_joined() -> None:
    assert await read(Upload(b"abc", b"", b"def").receive, LIMITS) == b"abcdef"


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert await read(Upload(b"x" * 10).receive, LIMITS) == b"x" * 10


async def test_a_large_body_is_read_to_its_end_before_it_is_refused() -> None:
    upload = Upload(b"x" * 8, b"x" * 8, b"x" * 8)
    with pytest.raises(PayloadTooLarge):
        await read(upload.receive, LIMITS)
    assert upload.pieces == []


async def test_a_huge_body_is_not_read_for_ever() -> None:
    upload = Upload(*[b"x" * 8] * 100)
    with pytest.raises(PayloadTooLarge):
        await read(upload.receive, LIMITS)
    assert len(upload.pieces) > 90


@pytest.mark.parametrize("max_total_s", [600, 0.02])
async def test_a_body_that_stalls_is_a_timeout(max_total_s: float) -> None:
    limits = BodyLimits(max_stall_s=0.02 if max_total_s > 1 else 600, max_total_s=max_total_s)
    with anyio.fail_after(5), pytest.raises(Timeout):
        await read(Upload(b"{", is_stuck=True).receive, limits)


async def test_a_client_that_hangs_up_is_no_bad_request() -> None:
    with pytest.raises(ClientDisconnect):
        await read(Upload(b"{", is_cut=True).receive, LIMITS)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", "application/json")],
        [("content-type", "Application/JSON ; charset=utf-8")],
    ],
)
async def test_json_goes_by_its_names(headers: list[tuple[str, str]]) -> None:
    assert await read_json(request_of(b"{}", headers), LIMITS) == b"{}"


@pytest.mark.parametrize("name", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
async def test_other_content_types_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read_json(request_of(b"{}", [("content-type", name)]), LIMITS)


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        (b"[]", 1),
        (b'{"a":[{"b":[]}]}', 4),
        (b'"[[[[[["', 0),
        (b'["\\"[[[[[["]', 1),
        (b'["\\\\",[[]]]', 3),
        (b"[" * 64 + b"]" * 64, 64),
        (b'{"a":' * 63 + b"[]" + b"}" * 63, 64),
    ],
)
def test_nesting_is_counted_outside_strings(body: bytes, depth: int) -> None:
    padding = b"[" + b"[]," * 100 + b"0]"  # past the shortcut for few brackets
    padded = b"[" + body + b"," + padding + b"]"
    assert not is_nested_deeper(padded, max(depth, 2) + 1)
    assert is_nested_deeper(padded, max(depth, 2))


@pytest.mark.parametrize("depth", [65, 66, 1100, 100_000])
@pytest.mark.parametrize("form", ["arrays", "objects", "mixed", "unclosed", "after_quote"])
def test_deep_nesting_never_reaches_the_decoder(depth: int, form: str) -> None:
    bodies = {
        "arrays": b"[" * depth + b"]" * depth,
        "objects": b'{"a":' * depth + b"0" + b"}" * depth,
        "mixed": b'[{"a":' * depth + b"0" + b"}]" * depth,
        "unclosed": b"[" * depth,
        "after_quote": b'"\\\\"' + b"[" * depth,
    }
    assert is_nested_deeper(bodies[form], 64)


@given(
    st.recursive(
        st.text(alphabet='[]{}"\\a'),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_scan_agrees_with_the_decoded_value(value: object) -> None:
    body = msgspec.json.encode([value, [[]] * 70])
    depth = depth_of(value) + 1
    assert not is_nested_deeper(body, max(depth, 3))
    if depth > 3:
        assert is_nested_deeper(body, depth - 1)


def depth_of(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


@pytest.mark.parametrize(
    "body",
    [
        b"[]," * 1_300_000,
        b'"",' * 1_300_000,
        b"[" * 4_000_000,
        b'"' + b'\\"' * 2_000_000,
        b"[" * 64 * 30_000 + b"]" * 64 * 30_000,
        b'"\\' * 2_000_000,
    ],
    ids=["pairs", "strings", "open", "escapes", "deep", "quotes"],
)
def test_the_scan_is_linear(body: bytes) -> None:
    start_s = time.process_time()
    is_nested_deeper(body, 64)
    assert time.process_time() - start_s < 2  # a quadratic one takes minutes


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    word: str = ""


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Inner] = []
    labels: dict[str, int] = {}


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b'{"items":[{"count":"x"}]}', "items[0].count", "expected `int`, got `str`"),
        (b'{"items":[{}]}', "items[0].count", "Missing required field `count`"),
        (b'{"items":[{"count":1},{"count":1,"cuont":2}]}', "items[1].cuont", "Unknown field"),
        (b'{"itms":[]}', "itms", "Unknown field `itms`"),
        (b'{"labels":{"a":"b"}}', "labels", "expected `int`, got `str`"),
        (b'{"items":5}', "items", "expected `array`, got `int`"),
        (b"[]", None, "expected `object`, got `array`"),
        (b'{"items":[{"count":1e999}]}', "items[0].count", ""),
        (b'{"x - at `$.items`":1}', None, "Unknown field"),
        ('{"a\\n`\u202e":1}'.encode(), "a\n`\u202e", "Unknown field `a?`?`"),
    ],
)
def test_a_wrong_field_is_named(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(ValidationFault) as caught:
        decode(body, Outer)
    assert message in caught.value.message
    if param is not None:
        assert caught.value.param == param


def test_a_part_is_named_from_the_whole() -> None:
    with pytest.raises(ValidationFault) as caught:
        decode(msgspec.Raw(b'{"count":null}'), Inner, "items[3]")
    assert caught.value.param == "items[3].count"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b'{"items":NaN}',
        b"{} x",
        b"\xef\xbb\xbf{}",
        b'{"\xff":1}',
        b'{"items":[{"count":1,"word":"\xff"}]}',
        b"{'a':1}",
    ],
)
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decode(body, Outer)
