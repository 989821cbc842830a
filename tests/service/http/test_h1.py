"""HTTP/1.1 and 1.0 over real sockets: who left, what is too long, what comes next."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.service.http.harness import WAIT_S, Site, read_all, serving
from tests.service.http.stock import BOTH, Start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[SocketStream]:
    """A bare socket; every wait inside the block is bounded."""
    with anyio.fail_after(2 * WAIT_S):
        async with await anyio.connect_tcp("127.0.0.1", site.port) as socket:
            yield socket


async def read_until(socket: SocketStream, what: bytes) -> bytes:
    read = b""
    while what not in read:
        read += await socket.receive()
    return read


def get(path: str, *headers: bytes) -> bytes:
    lines = [b"GET %s HTTP/1.1" % path.encode(), b"host: x", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def test_a_request_of_http_1_0_needs_no_host() -> None:
    async with serving() as site, connected(site) as socket:
        await socket.send(b"GET /hello HTTP/1.0\r\n\r\n")
        answer = await read_all(socket)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"hello")


async def test_a_health_check_that_closes_its_half_gets_its_answer() -> None:
    async with serving() as site, connected(site) as socket:
        await socket.send(b"GET /hello HTTP/1.0\r\n\r\n")
        await socket.send_eof()
        assert (await read_all(socket)).endswith(b"hello")


async def test_a_client_that_leaves_while_its_answer_streams_is_noticed() -> None:
    async with serving() as site:
        async with connected(site) as socket:
            await socket.send(get("/hold"))
            await read_until(socket, b"held ")
        await site.app.until(lambda: site.app.num_left == 1 and site.app.num_running == 0)


async def test_a_client_that_leaves_before_its_answer_begins_is_noticed() -> None:
    async with serving() as site:
        async with connected(site) as socket:
            await socket.send(get("/wait"))
            await site.app.until(lambda: site.app.num_running == 1)
        await site.app.until(lambda: site.app.num_left == 1)


@BOTH
async def test_a_client_that_has_sent_more_and_leaves_is_noticed(start: Start) -> None:
    async with start() as site:
        async with connected(site) as socket:
            await socket.send(get("/hold") + get("/hello"))
            await read_until(socket, b"held ")
        for _ in range(100):
            if await site.ask("/left") == b"1":
                return
        raise AssertionError("it was not noticed")


async def test_half_a_body_is_answered_with_silence() -> None:
    async with serving() as site, connected(site) as socket:
        await socket.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf")
        await site.app.until(lambda: site.app.num_running == 1)
        await socket.send_eof()
        assert await read_all(socket) == b""
        await site.app.until(lambda: site.app.num_left == 1)


async def test_requests_that_come_together_are_answered_in_order() -> None:
    async with serving() as site, connected(site) as socket:
        post = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345"
        last = get("/hello", b"connection: close")
        await socket.send(get("/drip/3") + post + get("/hello") + post + last)
        answers = (await read_all(socket)).split(b"HTTP/1.1 200 ")[1:]
        bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
        assert len(bodies) == 5
        assert b"0000" in bodies[0]
        assert [b"5" in bodies[1], b"hello" in bodies[2], b"5" in bodies[3]] == [True] * 3
        assert b"hello" in bodies[4]


async def test_more_requests_than_are_read_ahead_are_all_answered() -> None:
    async with serving() as site, connected(site) as socket:
        many = [get(f"/drip/{n % 3 + 1}", b"x-pad: " + b"x" * 5000) for n in range(60)]

        async def send_all() -> None:
            await socket.send(b"".join(many) + get("/hello", b"connection: close"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_all)
            answers = await read_all(socket)
        assert answers.count(b"HTTP/1.1 200 ") == 61


async def test_a_connection_stays_open_for_the_next_request_and_closes_when_idle() -> None:
    async with serving(idle_s=0.2) as site, connected(site) as socket:
        for _ in range(3):
            await socket.send(get("/hello"))
            await read_until(socket, b"hello\r\n0\r\n\r\n")
        assert await read_all(socket) == b""


async def test_one_that_never_says_anything_is_closed() -> None:
    async with serving(idle_s=0.1) as site, connected(site) as socket:
        await socket.send(b"GET /health")
        await read_all(socket)
        assert site.app.num_started == 0


@BOTH
async def test_headers_above_the_limit_that_come_in_one_read_are_answered_431(start: Start) -> None:
    async with start() as site, connected(site) as socket:
        await socket.send(get("/hello", b"connection: close", b"x-big: " + b"x" * 20_000))
        assert (await read_all(socket)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("num_bytes", [17_000, 100_000])
async def test_headers_above_the_limit_start_nothing(num_bytes: int) -> None:
    async with serving() as site, connected(site) as socket:
        await socket.send(get("/hello", b"x-big: " + b"x" * num_bytes))
        assert (await read_all(socket)).startswith(b"HTTP/1.1 431 ")
        assert site.app.num_started == 0
        assert await site.ask("/hello") == b"hello"


async def test_headers_just_below_the_limit_pass() -> None:
    async with serving() as site, connected(site) as socket:
        await socket.send(get("/hello", b"connection: close", b"x-big: " + b"x" * 16_000))
        assert (await read_all(socket)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /hello HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_answered_400_and_closed(head: bytes) -> None:
    async with serving() as site, connected(site) as socket:
        await socket.send(head)
        assert (await read_all(socket)).startswith(b"HTTP/1.1 400 ")


async def test_an_application_waits_for_a_client_that_reads_nothing_and_is_let_go() -> None:
    async with serving(max_stall_s=0.3) as site, connected(site) as socket:
        await socket.send(get(f"/big/{64 * 2**20}"))
        await site.app.until(lambda: site.app.num_started == 1 and site.app.num_running == 0)
        assert len(await read_all(socket)) < 32 * 2**20


async def test_a_websocket_is_upgraded_and_talks() -> None:
    async with serving() as site, connected(site) as socket:
        await socket.send(
            get(
                "/ws",
                b"connection: upgrade",
                b"upgrade: websocket",
                b"sec-websocket-version: 13",
                b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            )
        )
        assert b"101" in await read_until(socket, b"\r\n\r\n")
        await socket.send(b"\x81\x85\x00\x00\x00\x00hello")
        assert await read_until(socket, b"HELLO") == b"\x81\x05HELLO"
        await socket.send(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        assert b"\x88\x02\x03\xe8" in await read_all(socket)


async def test_a_stop_closes_idle_connections_and_lets_answers_finish() -> None:
    async with serving() as site, connected(site) as idle, connected(site) as socket:
        await idle.send(get("/hello"))
        await read_until(idle, b"hello\r\n0\r\n\r\n")
        await socket.send(get("/hold"))
        await read_until(socket, b"held ")
        site.stop.set()
        assert await read_all(idle) == b""
        site.app.release.set()
        assert b"done" in await read_all(socket)
