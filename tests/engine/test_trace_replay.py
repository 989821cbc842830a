"""The prefix cache on requests of a real service, against what the trace says is possible."""

from __future__ import annotations

from array import array
from pathlib import Path
from xml.etree import ElementTree

import pytest

from observability.bench.run import Machine
from observability.bench.workload.trace import Trace, TraceRequest, read_trace
from tests.perf.replay.oracle import instant_lru_cached_tokens, oracle_cached_tokens
from tests.perf.replay.page import chart_of, figures_of, verdict
from tests.perf.replay.replay import replay, smallest_cache_tokens
from tests.perf.replay.run_record import ReplayRecord

MOONCAKE = Path(__file__).parents[1] / "data" / "mooncake_conversation_400.jsonl"


@pytest.fixture(scope="module")
def mooncake() -> Trace:
    """400 requests of a chat service, one token for 16."""
    return read_trace(MOONCAKE).scaled(16)


def small_trace(*requests: tuple[int, tuple[int, ...]]) -> Trace:
    """One request a second, of so many prompt tokens in so many blocks of 512."""
    rows = [
        TraceRequest(second * 1_000_000_000, num_tokens, 3, block_ids)
        for second, (num_tokens, block_ids) in enumerate(requests)
    ]
    return Trace("small", True, rows)


def test_a_cache_without_bound_finds_what_the_trace_says_can_be_found(mooncake: Trace) -> None:
    result = replay(mooncake)
    assert result.num_finished == result.num_requests == 400
    assert result.num_prompt_tokens == mooncake.num_prompt_tokens
    assert result.num_output_tokens == mooncake.num_output_tokens
    assert result.oracle_rate > 0.1
    assert abs(result.hit_rate - result.oracle_rate) < 0.02


def test_a_small_cache_forgets_and_preempts_and_every_request_finishes(mooncake: Trace) -> None:
    smallest = replay(mooncake, cache_tokens=smallest_cache_tokens(mooncake))
    larger = replay(mooncake, cache_tokens=1 << 21)
    assert smallest.num_finished == larger.num_finished == 400
    assert smallest.num_preemptions > 0
    assert smallest.hit_rate < larger.hit_rate < larger.oracle_rate
    assert abs(larger.hit_rate - larger.lru_rate) < 0.02


def test_the_books_are_right_after_every_step(mooncake: Trace) -> None:
    first = Trace("first", True, mooncake.requests[:60], mooncake.scale)
    result = replay(first, cache_tokens=smallest_cache_tokens(first), checks_every_step=True)
    assert result.num_finished == 60


def test_a_trace_without_content_shares_nothing(tmp_path: Path) -> None:
    file = tmp_path / "azure.csv"
    rows = "".join(
        f"2023-11-16 18:15:{second:02}.6805900,{400 + second},{second % 7}\n"
        for second in range(60)
    )
    file.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    result = replay(read_trace(file), cache_tokens=4096)
    assert result.num_finished == 60
    assert result.num_cached_tokens == result.num_oracle_tokens == 0
    assert result.trace_s == 59


def test_the_oracle_counts_whole_blocks_that_came_before_and_never_the_last_token() -> None:
    trace = small_trace(
        (1024, (1, 2)),
        (1024, (1, 2)),  # the same again: all but the block of its last token
        (1100, (1, 2, 3)),  # 1024
        (1100, (1, 2, 3)),  # the same again: 1088 of 1099 are whole blocks
        (700, (9, 2)),  # another beginning: what follows is no prefix
        (1024, (1, 3)),  # 512: the block 3 that is known has another beginning
        (1024, (1, 3)),  # the same again
    )
    found = (0, 1008, 1024, 1088, 0, 512, 1008)
    assert oracle_cached_tokens(trace, 16) == sum(found)
    assert instant_lru_cached_tokens(trace, 16, 10_000) == sum(found)
    result = replay(trace)
    assert result.num_cached_tokens == sum(found)


def test_the_two_oracles_agree_where_nothing_is_evicted(mooncake: Trace) -> None:
    oracle = oracle_cached_tokens(mooncake, 16)
    assert instant_lru_cached_tokens(mooncake, 16, 1_000_000) == oracle
    assert instant_lru_cached_tokens(mooncake, 16, 10_000) < oracle


def test_requests_that_arrive_together_compute_their_common_beginning_once() -> None:
    rows = [TraceRequest(0, 1024 + index, 2, (1, 2, 10 + index)) for index in range(1, 9)]
    result = replay(Trace("together", True, rows))
    assert result.num_cached_tokens == 7 * 1024


def test_the_scale_changes_the_hit_rate_by_rounding_only() -> None:
    full = read_trace(MOONCAKE, 60)
    rates = [replay(trace).hit_rate for trace in (full, full.scaled(16))]
    assert abs(rates[0] - rates[1]) < 0.002


def test_a_trace_block_is_whole_cache_blocks(mooncake: Trace) -> None:
    with pytest.raises(ValueError, match="does not divide"):
        replay(mooncake, block_size=64)


def test_equal_blocks_are_equal_tokens_also_where_they_are_cut() -> None:
    trace = small_trace((700, (5, 6)), (1024, (5, 6)), (700, (7, 6)))
    cut, whole, other = (array("I", trace.prompt(request)) for request in trace.requests)
    assert (len(cut), len(whole)) == (700, 1024)
    assert cut == whole[:700]
    assert other[:512] != cut[:512]


def test_the_page_and_the_picture_hold_every_figure(mooncake: Trace) -> None:
    machine = Machine(cpu="a < b", num_cores=2, memory_gb=8, system="Linux", python="3.11")
    record = ReplayRecord(date="now", commit="c", machine=machine)
    assert record.why_not_publishable()
    record.results = [replay(mooncake), replay(mooncake, cache_tokens=1 << 20)]
    assert not record.why_not_publishable()
    rows = [line for line in figures_of(record) if line.startswith(("| 1 Mi", "| no bound"))]
    assert [row.split(" | ")[1] for row in rows] == [
        f"**{one.hit_rate:.2%}**" for one in record.results[::-1]
    ]
    assert "points apart" in verdict(record)
    picture = ElementTree.fromstring(chart_of(record).draw())
    assert len(picture.findall(".//{*}circle")) == 2
