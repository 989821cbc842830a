"""The load in this process, against a stub that answers as it is told, on both protocols."""

from __future__ import annotations

import itertools
import ssl
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from observability.bench.errors import CannotMeasure
from observability.bench.load.dispatcher import Dispatcher
from observability.bench.load.endpoint import endpoint_of
from observability.bench.load.pool import Pool
from observability.bench.load.tally import Tally
from observability.bench.plan import Protocol, Target
from observability.bench.turn import Session, Turn
from tests.observability.bench.stub_server import StubServer, stub_server
from tests.perf.gateway.certificate import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from observability.bench.measured import Measured

PROTOCOLS: tuple[Protocol, ...] = ("http/1.1", "h2")
both = pytest.mark.parametrize("protocol", PROTOCOLS)
SLACK_S = 0.04
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def one(text: str = "hi", tokens: int = 3, index: int = 0, **more: Any) -> Session:
    return Session(index=index, turns=[Turn(text=text, num_output_tokens=tokens)], **more)


async def load(
    server: StubServer,
    *sessions: Session,
    at_once: int | None = None,
    scheme: str = "http",
    **target: Any,
) -> list[Measured]:
    """What was measured, by session and turn."""
    fields: dict[str, Any] = {
        "url": f"{scheme}://127.0.0.1:{server.port}",
        "model": "stub",
        "timeout_s": 5.0,
    }
    aim = Target(**(fields | target))
    endpoint = endpoint_of(aim.endpoint)
    tally = Tally(time.monotonic())
    with anyio.fail_after(10):
        async with Pool(aim, endpoint.path) as pool:
            await Dispatcher(aim, endpoint, pool, sessions).run(tally, at_once)
    assert tally.num_running == 0
    return sorted(tally.take_results(), key=lambda one: (one.session, one.turn))


@both
async def test_known_delays_are_measured(protocol: Protocol) -> None:
    async with stub_server(delay_ms=80, gap_ms=30) as server:
        (got,) = await load(server, one(tokens=5), protocol=protocol)
    assert got.error == ""
    assert len(got.arrivals_s) == 5
    assert 0.08 <= got.arrivals_s[0] - got.sent_s < 0.08 + SLACK_S
    gaps = [
        after - before for before, after in zip(got.arrivals_s, got.arrivals_s[1:], strict=False)
    ]
    assert gaps == pytest.approx([0.03] * 4, abs=0.02)
    assert got.due_s == got.sent_s
    assert got.arrivals_s[-1] <= got.end_s < got.arrivals_s[-1] + SLACK_S
    assert (got.num_prompt_tokens, got.num_output_tokens, got.num_asked_tokens) == (1, 5, 5)
    assert got.finish_reason == "length"
    assert got.num_characters == len(" w0 w1 w2 w3 w4")
    assert got.first_answer_s == got.arrivals_s[0]


@both
async def test_requests_of_an_open_loop_are_sent_on_time_by_a_stuck_server(
    protocol: Protocol,
) -> None:
    sessions = [one(index=index, due_s=index * 0.02) for index in range(10)]
    async with stub_server(head_delay_ms=400) as server:
        results = await load(server, *sessions, protocol=protocol)
        assert server.seen.max_running == 10
    for got in results:
        assert got.due_s == pytest.approx(got.session * 0.02, abs=1e-5)
        assert 0 <= got.sent_s - got.due_s < SLACK_S
        assert got.arrivals_s[0] - got.due_s >= 0.4


async def test_waiting_for_a_place_counts_from_when_a_request_was_due() -> None:
    sessions = [one(index=index, due_s=0.01) for index in range(3)]
    async with stub_server(delay_ms=100) as server:
        results = await load(server, *sessions, at_once=1)
        assert server.seen.max_running == 1
    assert [got.due_s for got in results] == [0.01] * 3
    assert [got.sent_s for got in results] == pytest.approx([0.01, 0.11, 0.21], abs=SLACK_S)


@both
async def test_a_closed_loop_keeps_its_places_filled(protocol: Protocol) -> None:
    sessions = [one(index=index) for index in range(12)]
    async with stub_server(delay_ms=50) as server:
        results = await load(server, *sessions, at_once=3, protocol=protocol)
        assert server.seen.max_running == 3
        assert server.seen.num_connections == (3 if protocol == "http/1.1" else 1)
    assert len(results) == 12
    assert max(got.end_s for got in results) == pytest.approx(0.2, abs=0.1)
    for begin in results:  # at each sending, but those of the last ones, three are in flight
        in_flight = [got for got in results if got.sent_s <= begin.sent_s < got.end_s]
        assert len(in_flight) <= 3


@both
@pytest.mark.parametrize(
    ("behaviour", "kind", "num_arrivals"),
    [
        ({"status": 429}, "http 429", 0),
        ({"status": 302}, "http 302", 0),
        ({"error_after": 2}, "stream", 2),
        ({"cut_after": 2}, "cut", 2),
        ({"has_done": False, "has_reason": False}, "cut", 3),
        ({"bad_json_after": 1}, "protocol", 1),
        ({"is_no_http": True}, "protocol", 0),
        ({"head_delay_ms": 4000}, "timeout", 0),
        ({"delay_ms": 0, "gap_ms": 4000}, "timeout", 1),
    ],
    ids=str,
)
async def test_a_failure_is_told_by_its_kind(
    protocol: Protocol, behaviour: dict[str, Any], kind: str, num_arrivals: int
) -> None:
    timeout_s = 0.3 if kind == "timeout" else 5.0
    async with stub_server(**behaviour) as server:
        (got,) = await load(server, one(), protocol=protocol, timeout_s=timeout_s)
    assert got.error == kind
    assert len(got.arrivals_s) == num_arrivals
    assert got.detail
    assert got.end_s == pytest.approx(0.3 if kind == "timeout" else 0.0, abs=0.15)


async def test_what_the_server_says_of_an_error_is_kept() -> None:
    async with stub_server() as server:
        refused, broken = await load(
            server, one(), one(index=1), at_once=1, body={"stub": {"status": 429}}
        )
        assert refused.detail == broken.detail == "stub says 429"
        assert server.seen.num_connections == 1  # an answer is read to its end: no need to leave
        (got,) = await load(server, one(), body={"stub": {"error_after": 0}})
        assert got.detail == "the stub is out of memory"


@both
async def test_a_server_that_is_not_there_is_a_failure_of_the_connection(
    protocol: Protocol,
) -> None:
    async with stub_server() as server:
        pass
    (got,) = await load(server, one(), protocol=protocol)
    assert got.error == "connection"
    assert "refused" in got.detail or "connect" in got.detail.lower()


@both
async def test_a_request_that_is_given_up_leaves_the_server(protocol: Protocol) -> None:
    async with stub_server(head_delay_ms=60_000) as server:
        (got,) = await load(server, one(), protocol=protocol, timeout_s=0.1)
        assert got.error == "timeout"
        with anyio.fail_after(5):
            while server.seen.num_running:
                await anyio.wait_all_tasks_blocked()
                await anyio.sleep(0.01)


@both
async def test_missing_usage_is_no_error(protocol: Protocol) -> None:
    async with stub_server(has_usage=False) as server:
        (got,) = await load(server, one(), protocol=protocol)
    assert got.error == ""
    assert got.num_prompt_tokens is got.num_output_tokens is got.num_cached_tokens is None


@both
@pytest.mark.parametrize(
    "behaviour",
    [
        {"line_end": "\r\n"},
        {"data_field": "data:"},
        {"has_comments": True},
        {"has_done": False},
        {"has_reason": False},
        {"num_cached_tokens": 1},
    ],
    ids=str,
)
async def test_habits_of_other_servers_are_no_errors(
    protocol: Protocol, behaviour: dict[str, Any]
) -> None:
    async with stub_server(**behaviour) as server:
        (got,) = await load(server, one(), protocol=protocol)
    assert (got.error, got.detail, len(got.arrivals_s)) == ("", "", 3)
    assert got.num_cached_tokens == behaviour.get("num_cached_tokens")


async def test_the_first_answer_is_told_from_reasoning() -> None:
    async with stub_server(num_reasoning_tokens=2, gap_ms=20) as server:
        (got,) = await load(server, one(tokens=4))
    assert len(got.arrivals_s) == 4
    assert got.first_answer_s == got.arrivals_s[2]


@both
async def test_an_answer_that_is_not_streamed_has_no_arrivals(protocol: Protocol) -> None:
    async with stub_server(is_streamed=False) as server:
        (got,) = await load(server, one(), protocol=protocol)
    assert (got.error, got.arrivals_s, got.first_answer_s) == ("", [], None)
    assert got.num_output_tokens == 3
    assert got.num_characters == len(" w0 w1 w2")


@both
async def test_the_server_sees_the_history_grow(protocol: Protocol) -> None:
    turns = [Turn(text=text, num_output_tokens=2) for text in ("one", "two", "three")]
    session = Session(index=0, turns=turns, think_s=0.1)
    async with stub_server() as server:
        results = await load(server, session, protocol=protocol)
        asked = [body["messages"] for body in server.seen.bodies]
    answer = {"role": "assistant", "content": " w0 w1"}
    users = [{"role": "user", "content": turn.text} for turn in turns]
    assert asked[2] == [users[0], answer, users[1], answer, users[2]]
    assert asked[1] == asked[2][:3]
    assert asked[0] == asked[2][:1]
    assert [got.turn for got in results] == [0, 1, 2]
    for before, after in itertools.pairwise(results):
        assert 0.1 <= after.sent_s - before.end_s < 0.1 + SLACK_S


async def test_a_completion_is_continued() -> None:
    turns = [Turn(text=text, num_output_tokens=1) for text in ("one", " two")]
    async with stub_server() as server:
        results = await load(server, Session(index=0, turns=turns), endpoint="completions")
        assert server.seen.paths == ["/v1/completions"] * 2
        assert [body["prompt"] for body in server.seen.bodies] == ["one", "one w0 two"]
    assert [len(got.arrivals_s) for got in results] == [1, 1]


async def test_a_turn_that_fails_is_the_last_of_its_session() -> None:
    session = Session(index=0, turns=[Turn(text="one"), Turn(text="two")])
    async with stub_server(status=500) as server:
        results = await load(server, session, one(index=1))
        assert len(server.seen.bodies) == 2
    assert [(got.session, got.turn) for got in results] == [(0, 0), (1, 0)]


@both
async def test_a_connection_that_was_closed_in_between_is_no_error(protocol: Protocol) -> None:
    sessions = [one(index=index) for index in range(4)]
    async with stub_server(closes_after=True) as server:
        results = await load(server, *sessions, at_once=1, protocol=protocol)
        assert [got.error for got in results] == [""] * 4
        assert server.seen.num_connections == 4


async def test_streams_go_on_after_the_server_has_said_that_it_goes() -> None:
    sessions = [one(index=index, due_s=index * 0.03) for index in range(4)]
    async with stub_server(goes_away=True, delay_ms=20, gap_ms=20) as server:
        results = await load(server, *sessions, protocol="h2")
        assert [(got.error, len(got.arrivals_s)) for got in results] == [("", 3)] * 4
        assert server.seen.num_connections == 4


async def test_more_connections_are_opened_than_a_server_lets_streams_on_one() -> None:
    sessions = [one(index=index) for index in range(5)]
    async with stub_server(max_streams=2, delay_ms=100) as server:
        results = await load(server, *sessions, protocol="h2")
        assert server.seen.num_connections == 3
        assert server.seen.max_running == 5
    assert [got.error for got in results] == [""] * 5


async def test_a_server_without_http2_is_told_as_that() -> None:
    async with stub_server() as server:
        server.has_h2 = False
        (got,) = await load(server, one(), protocol="h2")
    assert (got.error, got.detail) == ("protocol", "the server does not speak HTTP/2")


async def test_a_server_without_streams_is_a_failure() -> None:
    async with stub_server(max_streams=0) as server:
        (got,) = await load(server, one(), protocol="h2")
    assert got.error == "connection"


@both
async def test_a_prompt_may_be_larger_than_all_windows(protocol: Protocol) -> None:
    text = "word " * 100_000
    async with stub_server() as server:
        results = await load(server, one(text), one(text, index=1), protocol=protocol)
        assert all(body["messages"][0]["content"] == text for body in server.seen.bodies)
    assert [got.num_prompt_tokens for got in results] == [100_000] * 2


@both
async def test_tls_is_spoken_and_certificates_are_looked_at(
    protocol: Protocol, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*make_certificate(tmp_path))
    tls.set_alpn_protocols([protocol])
    async with stub_server(tls=tls) as server:
        good, again = await load(
            server, one(), one(index=1), at_once=1, scheme="https", protocol=protocol,
            is_insecure=True,
        )  # fmt: skip
        assert (good.error, len(good.arrivals_s), again.error) == ("", 3, "")
        assert server.seen.num_connections == 1
        (got,) = await load(server, one(), scheme="https", protocol=protocol)
        assert got.error == "connection"
        assert "certificate" in got.detail


async def test_http2_over_tls_takes_a_server_that_offers_it(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*make_certificate(tmp_path))
    async with stub_server(tls=tls) as server:
        (got,) = await load(server, one(), scheme="https", protocol="h2", is_insecure=True)
    assert (got.error, got.detail) == ("protocol", "the server does not offer HTTP/2")


def test_a_key_that_no_header_can_carry_is_said() -> None:
    with pytest.raises(CannotMeasure, match="API key"):
        Pool(Target(url="http://x", model="m"), "/v1/x", "two\nlines")
