"""What RFC 9113 asks of a server, case by case, as h2spec does; sections in the names' comments."""

from __future__ import annotations

import anyio
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.service.http.frames import CREDIT, PREFACE, Client, connected
from tests.service.http.harness import WAIT_S, read_all, serving

WINDOW = SettingCodes.INITIAL_WINDOW_SIZE


def sizes(client: Client, stream_id: int) -> list[int]:
    return [
        len(frame.data)
        for frame in client.seen
        if isinstance(frame, DataFrame) and frame.stream_id == stream_id
    ]


async def test_data_follows_the_windows_to_the_byte() -> None:  # 6.9.1
    async with serving() as site, connected(site, {WINDOW: 10}) as client:
        stream_id = await client.request("/big/30")
        await client.until(lambda: len(client.of(stream_id).body) == 10)
        await client.settle()
        assert len(client.of(stream_id).body) == 10
        for total in (11, 30):
            await client.send(WindowUpdateFrame(stream_id, window_increment=total - 10))
            await client.until(lambda total=total: len(client.of(stream_id).body) >= min(total, 30))
        assert (await client.answer(stream_id)).body == b"x" * 30


async def test_the_window_of_the_connection_holds_for_all_streams_together() -> None:  # 6.9
    async with serving() as site, connected(site, credit=0) as client:
        first = await client.request("/big/60000")
        second = await client.request("/big/60000")
        both = (first, second)
        await client.until(lambda: sum(len(client.of(each).body) for each in both) == 65_535)
        await client.settle()
        assert sum(len(client.of(each).body) for each in both) == 65_535
        assert min(len(client.of(each).body) for each in both) > 20_000, "both have had a share"
        await client.send(WindowUpdateFrame(0, window_increment=100_000))
        for each in both:
            assert len((await client.answer(each)).body) == 60_000


async def test_a_new_initial_window_changes_those_of_running_streams() -> None:  # 6.9.2
    async with serving() as site, connected(site, {WINDOW: 5}) as client:
        stream_id = await client.request("/big/30")
        await client.until(lambda: len(client.of(stream_id).body) == 5)
        await client.send(SettingsFrame(0, settings={WINDOW: 25}))
        await client.until(lambda: len(client.of(stream_id).body) == 25)
        await client.send(SettingsFrame(0, settings={WINDOW: 3}))  # the window is now -22
        await client.send(WindowUpdateFrame(stream_id, window_increment=22))  # and now 0
        await client.settle()
        assert len(client.of(stream_id).body) == 25
        await client.send(WindowUpdateFrame(stream_id, window_increment=1))
        await client.until(lambda: len(client.of(stream_id).body) == 26)
        await client.send(SettingsFrame(0, settings={WINDOW: 1000}))
        assert len((await client.answer(stream_id)).body) == 30


async def test_a_frame_is_as_long_as_the_client_allows() -> None:  # 4.2
    async with serving() as site, connected(site) as client:
        first = await client.request("/big/100000")
        await client.answer(first)
        assert max(sizes(client, first)) == 16_384
        await client.send(SettingsFrame(0, settings={SettingCodes.MAX_FRAME_SIZE: 50_000}))
        second = await client.request("/big/100000")
        assert len((await client.answer(second)).body) == 100_000
        assert 16_384 < max(sizes(client, second)) <= 50_000


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (WindowUpdateFrame(0, window_increment=2**31 - 1), ErrorCodes.FLOW_CONTROL_ERROR),  # 6.9.1
        (DataFrame(5, b"x"), ErrorCodes.PROTOCOL_ERROR),  # 5.1: idle
        (RstStreamFrame(5), ErrorCodes.PROTOCOL_ERROR),  # 6.4: idle
        (WindowUpdateFrame(5, window_increment=1), ErrorCodes.PROTOCOL_ERROR),  # 6.9: idle
        (ContinuationFrame(1, data=b"x"), ErrorCodes.PROTOCOL_ERROR),  # 6.10: nothing to continue
        (SettingsFrame(0, settings={WINDOW: 2**31}), ErrorCodes.FLOW_CONTROL_ERROR),  # 6.5.2
        (SettingsFrame(0, settings={SettingCodes.MAX_FRAME_SIZE: 100}), ErrorCodes.PROTOCOL_ERROR),
        (SettingsFrame(0, settings={SettingCodes.ENABLE_PUSH: 2}), ErrorCodes.PROTOCOL_ERROR),
        (HeadersFrame(2, data=b"\x82", flags=["END_HEADERS"]), ErrorCodes.PROTOCOL_ERROR),  # 5.1.1
        (HeadersFrame(7, data=b"\xff" * 9, flags=["END_HEADERS"]), ErrorCodes.PROTOCOL_ERROR),
    ],
    ids=lambda what: type(what).__name__ if isinstance(what, Frame) else what.name,
)
async def test_what_no_client_may_send_ends_the_connection_with_a_reason(
    what: Frame, code: ErrorCodes
) -> None:
    async with serving() as site:
        async with connected(site, credit=CREDIT) as client:
            assert (await client.get()).body == b"hello"
            await client.send(what)
            assert await client.until_closed() == code
        async with connected(site) as client:
            assert (await client.get()).body == b"hello"


async def test_a_frame_longer_than_announced_ends_the_connection() -> None:  # 4.2
    async with serving() as site, connected(site) as client:
        stream_id = await client.request("/echo", "POST", end=False)
        await client.data(stream_id, b"x" * 16_385)
        assert await client.until_closed() == ErrorCodes.FRAME_SIZE_ERROR


async def test_a_window_of_a_stream_that_overflows_costs_that_stream_only() -> None:  # 6.9.1
    async with serving() as site, connected(site) as client:
        stream_id = await client.request("/hold")
        await client.until(lambda: client.of(stream_id).status)
        await client.send(WindowUpdateFrame(stream_id, window_increment=2**31 - 1))
        assert (await client.answer(stream_id)).reset == ErrorCodes.FLOW_CONTROL_ERROR
        await site.app.until(lambda: site.app.num_left == 1)
        assert (await client.get()).body == b"hello"


async def test_an_update_by_nothing_is_an_error() -> None:  # 6.9
    async with serving() as site, connected(site) as client:
        raw = bytearray(WindowUpdateFrame(0, window_increment=1).serialize())
        raw[-1] = 0
        await client.socket.send(bytes(raw))
        assert await client.until_closed() == ErrorCodes.PROTOCOL_ERROR


async def test_data_on_a_stream_whose_request_has_ended_is_an_error() -> None:  # 5.1: half-closed
    async with serving() as site, connected(site) as client:
        stream_id = await client.request("/hold")
        await client.data(stream_id, b"x")
        await client.until(lambda: client.is_closed or client.of(stream_id).reset is not None)
        await site.app.until(lambda: site.app.num_running == 0)


async def test_frames_on_a_stream_that_was_reset_are_ignored() -> None:  # 5.1: closed
    async with serving() as site, connected(site) as client:
        stream_id = await client.request("/echo", "POST", end=False)
        await client.send(
            RstStreamFrame(stream_id, error_code=ErrorCodes.CANCEL),
            WindowUpdateFrame(stream_id, window_increment=5),
            RstStreamFrame(stream_id, error_code=ErrorCodes.CANCEL),
            PriorityFrame(stream_id),
        )
        await client.data(stream_id, b"x" * 1000)
        assert (await client.get()).body == b"hello"


async def test_headers_come_in_pieces_but_with_nothing_between() -> None:  # 6.10
    async with serving() as site:
        async with connected(site) as client:
            head = client.head("/hello")
            data, head.data = head.data, head.data[:5]
            head.flags.discard("END_HEADERS")
            rest = [
                ContinuationFrame(1, data=data[5:9]),
                ContinuationFrame(1, data=data[9:], flags=["END_HEADERS"]),
            ]
            await client.send(head, *rest)
            assert (await client.answer(1)).body == b"hello"
        async with connected(site) as client:
            head = client.head("/hello")
            head.flags.discard("END_HEADERS")
            await client.send(head, PingFrame(0))
            assert await client.until_closed() == ErrorCodes.PROTOCOL_ERROR


async def test_pings_and_settings_are_acknowledged_in_order() -> None:  # 6.5.3, 6.7
    async with serving() as site, connected(site) as client:
        await client.send(PingFrame(0, opaque_data=b"12345678"))
        await client.send(SettingsFrame(0, settings={WINDOW: 7}))
        await client.settle()
        acks = [frame for frame in client.seen if "ACK" in frame.flags]
        assert [type(frame) for frame in acks] == [
            SettingsFrame, PingFrame, SettingsFrame, PingFrame
        ]  # fmt: skip
        assert acks[1].opaque_data == b"12345678"  # type: ignore[attr-defined]


async def test_frames_and_settings_of_other_standards_are_ignored() -> None:  # 4.1, 6.5.2
    async with serving() as site, connected(site, {0xF00: 1}) as client:
        await client.send(
            ExtensionFrame(type=0xBA, stream_id=0, flag_byte=0xFF),
            PriorityFrame(99, depends_on=0, stream_weight=5, exclusive=True),
        )
        assert (await client.get()).body == b"hello"


async def test_more_priorities_than_a_tree_would_hold_do_nothing() -> None:  # 5.3.2
    async with serving() as site, connected(site) as client:
        frames = [PriorityFrame(2 * n + 101, depends_on=2 * n + 99) for n in range(1500)]
        await client.send(*frames)
        assert (await client.get()).body == b"hello"


async def test_trailers_end_a_request() -> None:  # 8.1
    async with serving() as site, connected(site) as client:
        stream_id = await client.request("/echo", "POST", end=False)
        await client.data(stream_id, b"12345")
        trailers = HeadersFrame(
            stream_id, data=b"\x00\x01x\x01y", flags=["END_HEADERS", "END_STREAM"]
        )
        await client.send(trailers)
        assert (await client.answer(stream_id)).body == b"5"


async def test_padding_counts_against_the_window_and_is_given_back() -> None:  # 6.1
    async with serving() as site, connected(site) as client:
        stream_id = await client.request("/echo", "POST", end=False)
        for _ in range(1000):  # 256 kB, of which one byte each is body: beyond every window
            await client.send(DataFrame(stream_id, b"x", pad_length=254, flags=["PADDED"]))
            if len(client.seen) < 3:
                await client.settle()
        await client.data(stream_id, end=True)
        assert (await client.answer(stream_id)).body == b"1000"


async def test_a_client_that_says_goaway_gets_what_it_waits_for() -> None:  # 6.8
    async with serving() as site, connected(site) as client:
        stream_id = await client.request("/hold")
        await client.until(lambda: client.of(stream_id).body == b"held ")
        await client.send(GoAwayFrame(0), PingFrame(0, opaque_data=b"the same"))
        await client.settle()
        site.app.release.set()
        assert (await client.answer(stream_id)).body == b"held done"
        assert await client.until_closed() == ErrorCodes.NO_ERROR


async def test_head_has_no_body_and_an_empty_body_ends_the_stream() -> None:
    async with serving() as site, connected(site) as client:
        answer = await client.answer(await client.request("/hello", "HEAD"))
        assert (answer.status, answer.body, answer.is_whole) == (200, b"", True)


async def test_a_preface_that_is_none_is_closed() -> None:  # 3.4
    async with serving() as site, await anyio.connect_tcp("127.0.0.1", site.port) as socket:
        await socket.send(PREFACE[:-6] + b"XX\r\n\r\n" + SettingsFrame(0).serialize())
        with anyio.fail_after(WAIT_S):
            await read_all(socket)
