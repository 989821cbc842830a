"""Streams beside each other on one connection: complete, equal, fair, bounded, ended with grace."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import h2.config
import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import RstStreamFrame

from service.http.h2_protocol import H2Protocol
from service.http.h2_stream import Stream
from tests.service.http.frames import Client, connected
from tests.service.http.harness import WAIT_S, App, read_all, serving

WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
MIB = 2**20
DRIPPED = b"".join(b"%04d" % index for index in range(20))


async def test_a_thousand_streams_of_one_connection_are_complete_and_equal() -> None:
    async with serving() as site, connected(site) as client:
        streams = [client.head("/drip") for _ in range(1000)]
        await client.send(*streams)
        for head in streams:
            answer = await client.answer(head.stream_id)
            assert (answer.status, answer.body) == (200, DRIPPED)


async def test_a_thousand_streams_come_through_the_h2_library_as_well() -> None:
    """It keeps windows and states of its own, and raises at anything out of order."""
    async with serving() as site, await anyio.connect_tcp("127.0.0.1", site.port) as socket:
        client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        client.initiate_connection()
        bodies: dict[int, bytes] = {}
        num_ended = 0
        with anyio.fail_after(4 * WAIT_S):
            await socket.send(client.data_to_send())
            client.receive_data(await socket.receive())
            for _ in range(1000):
                stream_id = client.get_next_available_stream_id()
                path = [(":method", "GET"), (":scheme", "http"), (":path", "/drip")]
                client.send_headers(stream_id, [*path, (":authority", "x")], end_stream=True)
            while num_ended < 1000:
                await socket.send(client.data_to_send())
                for event in client.receive_data(await socket.receive()):
                    if isinstance(event, h2.events.DataReceived):
                        client.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                        bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                    num_ended += isinstance(event, h2.events.StreamEnded)
        assert set(bodies.values()) == {DRIPPED}


async def test_a_big_body_does_not_hold_up_a_small_one() -> None:
    async with serving() as site, connected(site) as client:
        big = await client.request(f"/big/{64 * MIB}")
        await client.until(lambda: client.of(big).body)
        small = await client.request("/hello")
        assert (await client.answer(small)).body == b"hello"
        assert not client.of(big).is_whole
        await client.send(RstStreamFrame(big))


# Uploads


async def test_an_upload_is_answered_early_and_the_answer_arrives() -> None:
    async with serving() as site, connected(site) as client:
        running = await client.request("/hold")
        upload = await client.request("/refuse", "POST", end=False)
        await send_body(client, upload, 8 * MIB)
        answer = await client.answer(upload)
        assert (answer.status, answer.body, answer.reset) == (413, b"too much", None)
        site.app.release.set()
        assert (await client.answer(running)).body == b"held done"
        assert (await client.get()).body == b"hello"


async def test_a_body_that_goes_on_without_end_after_its_answer_is_reset() -> None:
    async with serving(max_late_bytes=MIB) as site, connected(site) as client:
        upload = await client.request("/refuse", "POST", end=False)
        with pytest.raises(AssertionError, match="reset"):
            await send_body(client, upload, 4 * MIB)
        answer = client.of(upload)
        assert (answer.status, answer.is_whole) == (413, True)
        assert answer.reset == ErrorCodes.NO_ERROR  # RFC 9113 8.1: the answer stands
        assert (await client.get()).body == b"hello"


async def test_a_body_that_nobody_reads_stops_at_its_window_and_holds_up_no_other() -> None:
    async with serving() as site, connected(site) as client:
        unread = [await client.request("/deaf", "POST", end=False) for _ in range(40)]
        for stream_id in unread:  # 2.6 MB: more than the connection's window
            for _ in range(4):
                await client.data(stream_id, b"x" * 16_383)
            await client.settle()
        echo = await client.request("/echo", "POST", end=False)
        await send_body(client, echo, 300_000)
        assert (await client.answer(echo)).body == b"300000"
        assert not any(client.credit(stream_id) for stream_id in unread)


async def send_body(client: Client, stream_id: int, num_bytes: int) -> None:
    """As fast as the windows allow, which the server must open again."""
    num_sent = 0
    while num_sent < num_bytes:
        size = min(num_bytes - num_sent, 16_384)
        needed = num_sent + size - 65_535

        def may_go_on(needed: int = needed) -> bool:
            is_reset = client.of(stream_id).reset is not None
            return is_reset or min(client.credit(stream_id), client.credit(0)) >= needed

        await client.until(may_go_on)
        assert client.of(stream_id).reset is None, "reset"
        num_sent += size
        await client.data(stream_id, b"x" * size, end=num_sent == num_bytes)


# Slow readers


async def test_many_streams_that_nobody_reads_are_bounded_together() -> None:
    limits = {"max_unsent_total_bytes": 4 * MIB, "min_unsent_bytes": 64 * 1024}
    async with serving(**limits) as site, connected(site, {WINDOW: 0}) as client:
        for _ in range(20):
            await client.request(f"/big/{8 * MIB}")
        await client.settle()
        pushed = await settled(site.app)
        assert pushed <= 4 * MIB + 20 * (64 * 1024 + 16_384) + MIB
        # One that reads goes on: it may hold less, but it is not held up.
        reading = await client.request("/hello")
        await client.send_credit(reading, 1000)
        assert (await client.answer(reading)).body == b"hello"


async def settled(app: App) -> int:
    """What has been pushed when nothing more can be."""
    before = -1
    while before != app.num_pushed:
        before = app.num_pushed
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
    return before


async def test_a_stream_without_progress_is_reset_and_its_application_hears_of_it() -> None:
    async with serving(max_stall_s=0.3) as site, connected(site, {WINDOW: 2}) as client:
        stalled = await client.request("/hold")
        healthy = await client.request("/hold")
        await client.send_credit(healthy, 1000)
        answer = await client.answer(stalled)
        assert (answer.body, answer.reset) == (b"he", ErrorCodes.CANCEL)
        await site.app.until(lambda: site.app.num_left == 1)
        site.app.release.set()
        assert (await client.answer(healthy)).body == b"held done"


async def test_an_application_that_waits_for_room_is_let_go_when_its_client_has_not_moved() -> None:
    async with serving(max_stall_s=0.3) as site, connected(site, {WINDOW: 0}) as client:
        stalled = await client.request(f"/big/{8 * MIB}")
        assert (await client.answer(stalled)).reset == ErrorCodes.CANCEL
        await site.app.until(lambda: site.app.num_running == 0)


async def test_a_slow_reader_that_reads_is_not_reset() -> None:
    async with serving(max_stall_s=0.4) as site, connected(site, {WINDOW: 1}) as client:
        stream_id = await client.request("/hello")
        for num_read in range(1, 6):
            await client.until(lambda n=num_read: len(client.of(stream_id).body) == n)
            await anyio.sleep(0.15)  # what is tested is a time: slower than one limit in all
            await client.send_credit(stream_id, 1)
        assert (await client.answer(stream_id)).body == b"hello"


async def test_a_socket_that_takes_nothing_is_closed() -> None:
    async with serving(max_stall_s=0.3) as site, connected(site) as client:
        await client.request(f"/big/{64 * MIB}")
        await site.app.until(lambda: site.app.num_started == 1 and site.app.num_running == 0)
        await client.until_closed()
        assert 0 < len(client.of(1).body) < 32 * MIB  # what the kernel's buffers held


# Applications that fail


async def test_an_application_that_fails_costs_its_own_stream_only(caplog: Any) -> None:
    async with serving() as site, connected(site) as client:
        running = await client.request("/hold")
        assert (await client.get("/crash")).status == 500
        assert (await client.get("/silent")).status == 500
        cut = await client.get("/crash-later")
        assert (cut.body, cut.is_whole, cut.reset) == (b"half", False, ErrorCodes.INTERNAL_ERROR)
        site.app.release.set()
        assert (await client.answer(running)).body == b"held done"
    assert [record.message for record in caplog.records] == ["the application failed"] * 2


async def test_a_client_that_vanishes_is_noticed_by_all_that_ran_for_it() -> None:
    async with serving() as site:
        async with connected(site) as client:
            for _ in range(5):
                await client.request("/hold")
            await site.app.until(lambda: site.app.num_running == 5)
        await site.app.until(lambda: site.app.num_running == 0)
        assert site.app.num_left == 5


# The end of a connection


async def test_a_stop_lets_streams_finish_says_goaway_with_the_last_id_and_closes() -> None:
    async with serving() as site, connected(site) as idle, connected(site) as client:
        assert (await idle.get()).body == b"hello"
        running = await client.request("/hold")
        await client.until(lambda: client.of(running).body == b"held ")
        site.stop.set()
        assert await idle.until_closed() == ErrorCodes.NO_ERROR
        late = await client.request("/hello")
        assert (await client.answer(late)).reset == ErrorCodes.REFUSED_STREAM
        site.app.release.set()
        assert (await client.answer(running)).body == b"held done"
        assert await client.until_closed() == ErrorCodes.NO_ERROR
        assert client.goaway is not None
        assert client.goaway.last_stream_id >= running
        with anyio.fail_after(WAIT_S):
            await site.stopped.wait()


async def test_a_connection_that_rests_after_many_requests_is_retired_then() -> None:
    async with serving(max_requests=5) as site, connected(site) as client:
        for _ in range(4):
            await client.get()
        running = await client.request("/hold")
        assert (await client.get()).body == b"hello"
        assert client.goaway is None
        site.app.release.set()
        assert (await client.answer(running)).body == b"held done"
        assert await client.until_closed() == ErrorCodes.NO_ERROR


async def test_an_idle_connection_is_told_and_closed() -> None:
    async with serving(idle_s=0.1) as site:
        async with connected(site) as client:
            assert await client.until_closed() == ErrorCodes.NO_ERROR
        async with connected(site) as client:
            running = await client.request("/hold")
            await client.until(lambda: client.of(running).body)
            await anyio.sleep(0.2)  # what is tested is a time: longer than idleness may last
            site.app.release.set()
            assert (await client.answer(running)).body == b"held done"
            assert await client.until_closed() == ErrorCodes.NO_ERROR


async def test_nothing_is_left_of_streams_and_connections_that_are_gone() -> None:
    async with serving() as site:
        async with connected(site) as client:
            for _ in range(300):
                await client.get()
            await client.send(*[client.head("/hold") for _ in range(100)])
            await site.app.until(lambda: site.app.num_running == 100)
        await site.app.until(lambda: site.app.num_running == 0)
        with anyio.fail_after(WAIT_S):
            while num_left():
                await anyio.lowlevel.checkpoint()


def num_left() -> int:
    """Streams and connections of HTTP/2 that anything still holds."""
    gc.collect()
    # Not isinstance: it asks each object for its class, and some foreign ones answer with a warning.
    return sum(issubclass(type(each), Stream | H2Protocol) for each in gc.get_objects())


# Other ways in


async def test_an_upgraded_request_is_answered_as_stream_1() -> None:
    async with serving() as site, await anyio.connect_tcp("127.0.0.1", site.port) as socket:
        await socket.send(
            b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\n"
            b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        )
        head = b""
        with anyio.fail_after(WAIT_S):
            while not head.endswith(b"\r\n\r\n"):
                head += await socket.receive(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        client = Client(socket)
        client.skip_ids(1)
        await client.begin()
        assert (await client.answer(1)).body == b"hello"
        assert (await client.get()).body == b"hello"


async def test_an_upgrade_with_settings_that_are_none_is_closed() -> None:
    async with serving() as site:
        for settings in (b"AAQ", b"AAUAAAAA"):
            async with await anyio.connect_tcp("127.0.0.1", site.port) as socket:
                await socket.send(
                    b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\n"
                    b"upgrade: h2c\r\nhttp2-settings: %s\r\n\r\n" % settings
                )
                with anyio.fail_after(WAIT_S):
                    await read_all(socket)
        assert await site.ask("/hello") == b"hello"


async def test_a_websocket_runs_on_a_stream() -> None:  # RFC 8441
    async with serving() as site, connected(site) as client:
        stream_id = await client.request(
            "/ws",
            "CONNECT",
            end=False,
            extra=[(":protocol", "websocket"), ("sec-websocket-version", "13")],
        )
        await client.until(lambda: client.of(stream_id).status == 200)
        await client.data(stream_id, b"\x81\x85\x00\x00\x00\x00hello")
        await client.until(lambda: client.of(stream_id).body == b"\x81\x05HELLO")
        await client.data(stream_id, b"\x88\x82\x00\x00\x00\x00\x03\xe8", end=True)
        assert (await client.answer(stream_id)).body.endswith(b"\x88\x02\x03\xe8")


async def test_a_tunnel_is_not_opened() -> None:
    async with serving() as site, connected(site) as client:
        head = client.connect_head("example.org:443")
        await client.send(head)
        assert (await client.answer(head.stream_id)).status == 405
        assert site.app.num_started == 0
