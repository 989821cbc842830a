"""Clients that send much and mean nothing: told to calm down, before they cost anything."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.service.http.frames import Client, connected
from tests.service.http.harness import serving

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = {"num_control_frames": 100, "control_frames_per_s": 0.0}


async def send_and_see_the_end(client: Client, frames: list[Frame]) -> ErrorCodes | None:
    with suppress(anyio.BrokenResourceError):  # the server may have read enough
        await client.send(*frames)
    return await client.until_closed()


@pytest.mark.parametrize(
    "make",
    [
        lambda n: PingFrame(0, opaque_data=b"%08d" % n),
        lambda n: PingFrame(0, flags=["ACK"]),
        lambda n: SettingsFrame(0, settings={SettingCodes.INITIAL_WINDOW_SIZE: n}),
        lambda n: SettingsFrame(0, flags=["ACK"]),
        lambda n: PriorityFrame(2 * n + 3),
        lambda n: ExtensionFrame(type=0xBA, stream_id=0),
        lambda n: DataFrame(1, b""),
        lambda n: DataFrame(1, b"", flags=["PADDED"], pad_length=20),
    ],
    ids=["ping", "ack", "settings", "settings ack", "priority", "unknown", "empty", "padding"],
)
async def test_a_flood_ends_its_connection_and_no_other(make: Callable[[int], Frame]) -> None:
    async with serving(**FEW) as site, connected(site) as other, connected(site) as client:
        assert await client.request("/echo", "POST", end=False) == 1
        flood = [make(n) for n in range(200)]
        assert await send_and_see_the_end(client, flood) == ErrorCodes.ENHANCE_YOUR_CALM
        assert (await other.get()).body == b"hello"
        await site.app.until(lambda: site.app.num_running == 0)


async def test_updates_of_windows_are_no_flood_for_a_reader_acknowledges_each_token() -> None:
    async with serving(**FEW) as site, connected(site) as client:
        for _ in range(50):
            await client.send(*[WindowUpdateFrame(0, window_increment=1) for _ in range(100)])
        assert (await client.get()).body == b"hello"


async def test_acknowledgements_that_nobody_reads_stop_the_reading() -> None:
    limits = {"num_control_frames": 10**9, "max_stall_s": 0.3, "linger_s": 0.1}
    async with (
        serving(send_buffer_bytes=4096, **limits) as site,
        connected(site) as client,
    ):
        raw = client.socket.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        pings = b"".join(PingFrame(0, opaque_data=b"12345678").serialize() for _ in range(10_000))
        # Never a read: buffers fill both ways, then the server gives up.
        with anyio.fail_after(20), pytest.raises(anyio.BrokenResourceError):
            await client.socket.send(pings * 500)
        async with connected(site) as other:
            assert (await other.get()).body == b"hello"


async def test_a_request_that_is_reset_in_the_same_breath_starts_nothing() -> None:
    async with serving() as site, connected(site) as client:
        for _ in range(20):
            head = client.head("/hold")
            await client.send(head, RstStreamFrame(head.stream_id, error_code=ErrorCodes.CANCEL))
        assert (await client.get()).body == b"hello"
        assert site.app.num_started == 1


async def test_too_many_requests_that_are_reset_before_their_answer_end_the_connection() -> None:
    async with (
        serving(num_resets=50, resets_per_s=0.0) as site,
        connected(site) as other,
        connected(site) as client,
    ):
        frames: list[Frame] = []
        for _ in range(60):
            head = client.head("/echo", "POST", end=False)
            frames += [head, RstStreamFrame(head.stream_id, error_code=ErrorCodes.CANCEL)]
        assert await send_and_see_the_end(client, frames) == ErrorCodes.ENHANCE_YOUR_CALM
        assert (await other.get()).body == b"hello"
        assert site.app.num_started == 1


async def test_resets_that_a_client_provokes_count_as_its_own() -> None:  # MadeYouReset
    async with serving(num_resets=50, resets_per_s=0.0) as site, connected(site) as client:
        frames: list[Frame] = []
        for _ in range(60):
            head = client.head("/echo", "POST", end=False)
            frames += [head, WindowUpdateFrame(head.stream_id, window_increment=2**31 - 1)]
        assert await send_and_see_the_end(client, frames) == ErrorCodes.ENHANCE_YOUR_CALM


async def test_hanging_up_on_answers_that_run_is_no_flood() -> None:
    async with serving(num_resets=5, resets_per_s=0.0) as site, connected(site) as client:
        running = [await client.request("/hold") for _ in range(20)]
        await client.until(lambda: all(client.of(each).body for each in running))
        await client.send(*[RstStreamFrame(each) for each in running])
        await site.app.until(lambda: site.app.num_left == 20)
        assert (await client.get()).body == b"hello"


async def test_continuations_without_end_are_cut_off() -> None:
    async with serving() as site, connected(site) as client:
        head = client.head("/hello")
        head.flags.discard("END_HEADERS")
        frames: list[Frame] = [head, *(ContinuationFrame(1, data=b"") for _ in range(100))]
        assert await send_and_see_the_end(client, frames) == ErrorCodes.PROTOCOL_ERROR


async def test_headers_above_the_limit_are_answered_431_and_harm_nobody() -> None:
    async with serving() as site, connected(site) as client:
        running = await client.request("/hold")
        fields = [(f"x-{n}", "v" * 1000) for n in range(20)]
        stream_id = await client.request_in_pieces("/hello", fields)
        answer = await client.answer(stream_id)
        assert answer.status == 431
        assert b'"code":"headers_too_large"' in answer.body
        just_below = [(f"y-{n}", "v" * 1000) for n in range(15)]
        stream_id = await client.request_in_pieces("/hello", just_below)
        assert (await client.answer(stream_id)).status == 200
        site.app.release.set()
        assert (await client.answer(running)).body == b"held done"


async def test_headers_that_unfold_without_end_are_cut_off() -> None:
    async with serving() as site, connected(site) as client:
        fields = [("x-bomb", "v" * 3000)] * 400  # 1.2 MB decoded, some hundred bytes sent
        head = client.head("/hello", extra=fields)
        assert len(head.data) < 5000
        assert await send_and_see_the_end(client, [head]) == ErrorCodes.ENHANCE_YOUR_CALM


async def test_the_table_that_a_client_offers_for_our_headers_is_not_taken_whole() -> None:
    """It may offer 4 GiB, which would fill with every request id that is ever answered."""
    offer = {SettingCodes.HEADER_TABLE_SIZE: 2**31}
    async with serving() as site, connected(site, offer) as client:
        client.allow_table(2**31)
        for _ in range(3):
            assert (await client.get()).status == 200
        assert client.table_size == 4096
