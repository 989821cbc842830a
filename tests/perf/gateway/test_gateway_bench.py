"""The parts of the benchmark that could lie without anybody noticing: counting, times, medians."""

from __future__ import annotations

import socket
from random import Random
from xml.etree import ElementTree

import pytest

from observability.bench.run import Machine
from tests.perf.gateway.cadence import Cadence, delay_ms, stamp
from tests.perf.gateway.cell import Cell, Result
from tests.perf.gateway.connection import Wire
from tests.perf.gateway.http2_connection import Http2Connection, frame
from tests.perf.gateway.page import figures_of, picture_of
from tests.perf.gateway.plan import HEADLINE_ROUNDS, full_plan, in_order, quick_plan
from tests.perf.gateway.run_record import RunRecord
from tests.perf.gateway.summary import Spread, Verdict, percentile, summarize
from tests.perf.gateway.token_meter import TokenMeter


@pytest.mark.parametrize(
    "cadence",
    [
        Cadence(0),
        Cadence(5_000),
        Cadence(200_000, True, 20, 19),
        Cadence(100_000, False, 1000, 999),
    ],
)
def test_a_cadence_survives_the_way_through_a_seed(cadence: Cadence) -> None:
    assert Cadence.from_seed(cadence.to_seed()) == cadence
    assert 0 <= cadence.to_seed() < 2**63


def test_a_stamp_tells_the_delay_also_when_its_digits_wrap_around() -> None:
    random = Random(7)
    for _ in range(1000):
        due_ns = random.randrange(10**15)
        late_ns = random.randrange(-5_000_000, 60_000_000_000)
        digits = stamp(due_ns)[1:].encode()
        assert delay_ms(digits, due_ns + late_ns) == pytest.approx(late_ns / 1e6, abs=0.011)


@pytest.mark.parametrize("is_stamped", [False, True])
def test_tokens_are_counted_however_the_bytes_are_cut(is_stamped: bool) -> None:
    random = Random(8)
    events = [b'data: {"content":"%b"}\n\n' % stamp(10**9 + n).encode() for n in range(200)]
    answer = b"".join(events)
    meter = TokenMeter(is_stamped=is_stamped)
    at = 0
    while at < len(answer):
        size = random.randint(1, 60)
        meter.take("a", answer[at : at + size], 2 * 10**9)
        at += size
    assert meter.num_tokens == 200
    assert meter.begun == {"a"}
    if is_stamped:
        assert meter.delays_ms() == [pytest.approx(1000, abs=0.02)] * 200


def test_http2_frames_are_told_apart_however_the_bytes_are_cut() -> None:
    random = Random(9)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        meter = TokenMeter(is_stamped=False)
        connection = Http2Connection(Wire(ours), meter, [Cadence(1), Cadence(1)])
        answer = frame(4, 0, 0, b"")  # settings: now the streams are opened
        for number in range(100):
            # 126 is the mark's own byte: as a length or in a header it counts for nothing
            payload = (b"data: ~\n\n" if number % 2 else b"data: ping").ljust(126, b".")
            answer += frame(0, 0, 1 + 2 * (number // 50), payload)
        answer += frame(3, 0, 3, bytes(4))
        at = 0
        while at < len(answer):
            size = random.randint(1, 300)
            connection.take(answer[at : at + size], 0)
            at += size
        assert meter.num_tokens == 50
        assert len(meter.begun) == 2
        assert connection.num_failed == 1
        connection.take(b"", 0)
        assert connection.num_failed == 2


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, at) for at in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([3.0], 99) == 3.0
    assert percentile([], 99) == 0.0


def results() -> list[Result]:
    """Every cell of the plan; a server's round n costs 10, 20, 30 … us."""
    costs = {"kvorum": 1.0, "hypercorn": 8.0, "uvicorn": 2.0, "none": 0.5}
    return [
        Result(
            cell=cell,
            window_s=2.0,
            num_tokens=2000,
            server_us_per_token=costs[cell.server] * 10 * (number + 1),
            delays_ms={"p50": 1.0, "p99": 9.0 + number, "max": 30.0},
            kb_per_stream=40.0,
        )
        for number, cell in in_order(full_plan())
    ]


def test_a_summary_gives_the_median_and_the_spread_of_the_rounds() -> None:
    first = summarize(results())[0]
    assert first.cell == full_plan()[0]
    assert first.num_rounds == HEADLINE_ROUNDS
    assert first.us_per_token == Spread(30.0, 10.0, 50.0)


def test_a_round_that_was_cut_is_told_and_still_counts() -> None:
    good = results()[0]
    slow = Result(cell=good.cell, cut="overloaded", num_tokens=5, server_us_per_token=90.0)
    dead = Result(cell=good.cell, cut="the server died")
    summary = summarize([good, slow, dead])[0]
    assert summary.us_per_token == Spread(50.0, 10.0, 90.0)
    assert summary.cut == "2 of 3 rounds: overloaded; the server died"
    assert not summarize([dead])[0].has_figures


def test_the_last_line_is_the_result() -> None:
    verdict = Verdict.of(summarize(results()))
    assert verdict.each_alone.stock_ratio == 8.0
    assert verdict.one_step.uvicorn_ratio == 0.5
    assert verdict.one_step.bare_us == 15.0
    assert verdict.delay_p99_ms == 10.0
    assert verdict.kb_per_stream == 40.0
    assert "\n" not in verdict.line()
    assert "-" in Verdict.of([]).line()


def test_the_plans_hold_each_cell_once_and_rounds_alternate() -> None:
    for plan in (full_plan(), quick_plan()):
        assert len({str(cell) for cell in plan}) == len(plan)
        assert len(list(in_order(plan))) == sum(cell.rounds for cell in plan)
    order = list(in_order(full_plan()))
    headline = [(number, cell) for number, cell in order if cell.rounds == HEADLINE_ROUNDS]
    rounds: list[list[Cell]] = [[c for n, c in headline if n == number] for number in range(5)]
    assert rounds[1] == rounds[0][::-1]
    assert rounds[2] == rounds[0]


def test_the_page_and_the_picture_hold_every_figure() -> None:
    machine = Machine(cpu="a < b", num_cores=2, memory_gb=8, system="Linux", python="3.11")
    record = RunRecord(
        date="now",
        commit="c",
        is_quick=False,
        machine=machine,
        versions={"h2": "4"},
        load_average_before=0.1,
        results=results(),
    )
    summaries = summarize(record.results)
    lines = figures_of(record, summaries)
    row = "| h2c | 100 / 1 | each alone | **30.0** (10.0–50.0, 5) | **240.0** (80.0–400.0, 5) | – | **15.0** (5.0–25.0, 5) | 8.0 |"
    assert row in lines
    picture = ElementTree.fromstring(picture_of(record, summaries))
    assert len(picture.findall(".//{*}rect")) == 20  # the card and 19 bars
    assert record.why_not_publishable() == ""
