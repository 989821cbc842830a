"""The four faults of Hypercorn's HTTP/2: each test fails with its class and passes with ours."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.service.http.frames import connected
from tests.service.http.harness import serving
from tests.service.http.stock import BOTH, Start

MIB = 2**20


@BOTH
async def test_an_application_waits_for_a_client_that_takes_nothing(start: Start) -> None:
    closed_window = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    async with start() as site, connected(site, closed_window) as client:
        await client.request(f"/big/{32 * MIB}")
        await client.until(lambda: client.of(1).status == 200)
        for _ in range(100):  # time enough to push more each time
            pushed = int(await site.ask("/pushed"))
            assert pushed <= MIB + 64 * 1024


@BOTH
async def test_data_for_an_answered_stream_leaves_its_neighbours_alone(start: Start) -> None:
    async with start() as site, connected(site) as client:
        neighbour = await client.request("/hold")
        await client.until(lambda: client.of(neighbour).body == b"held ")
        upload = await client.request("/refuse", "POST", end=False)
        await client.until(lambda: client.of(upload).body == b"too much")
        await client.data(upload, b"x" * 16384)
        await client.data(upload, b"x" * 1000, end=True)
        await client.settle()
        await site.ask("/release")
        assert (await client.answer(neighbour)).body == b"held done"
        assert client.of(upload).status == 413
        assert (await client.get()).body == b"hello"


@BOTH
async def test_a_connection_of_many_requests_is_retired_without_a_loss(start: Start) -> None:
    limit = {"max_requests": 10} if start is serving else {"keep_alive_max_requests": 20}
    async with start(**limit) as site, connected(site) as client:
        running = await client.request("/hold")
        for _ in range(30):
            if client.goaway is None:
                client.of(await client.request("/hello"))
                await client.settle()
        assert client.goaway is not None
        assert client.goaway.error_code == ErrorCodes.NO_ERROR
        await site.ask("/release")
        assert (await client.answer(running)).body == b"held done"
        for stream_id in range(3, client.goaway.last_stream_id + 1, 2):
            assert (await client.answer(stream_id)).body == b"hello"
        assert await client.until_closed() == ErrorCodes.NO_ERROR


@BOTH
async def test_a_stream_over_the_limit_is_refused_and_the_others_run_on(start: Start) -> None:
    limit = {"max_streams": 3} if start is serving else {"h2_max_concurrent_streams": 3}
    async with start(**limit) as site, connected(site) as client:
        running = [await client.request("/hold") for _ in range(3)]
        await client.until(lambda: all(client.of(each).body == b"held " for each in running))
        # New fields in the refused request: the next one shows whether they were noted.
        odd = ("x-first-seen-here", "in the request that is refused")
        refused = await client.request("/hello", extra=[odd])
        assert (await client.answer(refused)).reset == ErrorCodes.REFUSED_STREAM
        await site.ask("/release")
        for stream_id in running:
            assert (await client.answer(stream_id)).body == b"held done"
        again = await client.request("/hello", extra=[odd])
        assert (await client.answer(again)).body == b"hello"
