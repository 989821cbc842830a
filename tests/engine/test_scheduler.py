from __future__ import annotations

import random
from collections import defaultdict

import pytest

from engine.kv_cache import BlockPool
from engine.protocol import (
    Event,
    Failed,
    Finished,
    RequestEvent,
    SamplingParams,
    Started,
    Submit,
    Tokens,
    pack_token_ids,
)
from engine.scheduler import Scheduler
from engine.step import StepResult
from tests.hash_runner import HashRunner, expected_tokens

NOW = 1_000


def make_submit(
    request_id: str, prompt: list[int], max_tokens: int = 4, tenant: str = "", **params: object
) -> Submit:
    fields = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0, **params}
    sampling = SamplingParams(max_tokens, **fields)  # type: ignore[arg-type]
    return Submit(request_id, pack_token_ids(prompt), sampling, 0, tenant)


class Bench:
    """A scheduler, a hash runner and what each request has been told."""

    def __init__(self, num_blocks: int = 16, block_size: int = 4, budget: int = 16) -> None:
        self.pool = BlockPool(num_blocks, block_size)
        self.scheduler = Scheduler(
            self.pool,
            max_batch_tokens=budget,
            max_running=8,
            max_model_len=num_blocks * block_size,
        )
        self.runner = HashRunner(num_blocks, block_size)
        self.told: defaultdict[str, list[RequestEvent]] = defaultdict(list)

    def note(self, events: list[tuple[str, RequestEvent]]) -> None:
        for request_id, event in events:
            self.told[request_id].append(event)
        self.scheduler.check()

    def submit(self, submit: Submit) -> None:
        self.note(self.scheduler.submit(submit))

    def step(self) -> int:
        plan = self.scheduler.schedule(NOW)
        self.scheduler.check()
        assert plan.num_tokens <= 16
        if plan.sequences:
            self.note(self.scheduler.update(plan, self.runner.execute(plan), NOW))
        return plan.num_tokens

    def run(self) -> None:
        for _ in range(10_000):
            if not self.scheduler.has_work:
                return
            self.step()
        raise AssertionError("the scheduler never came to an end")

    def tokens(self, request_id: str) -> list[int]:
        return [t for e in self.told[request_id] if isinstance(e, Tokens) for t in e.token_ids]


def terminal_events(events: list[RequestEvent]) -> list[Event]:
    return [event for event in events if isinstance(event, Finished | Failed)]


def test_a_request_is_started_then_given_tokens_then_finished() -> None:
    bench = Bench()
    bench.submit(make_submit("a", [1, 2, 3], max_tokens=2))
    bench.run()
    started, *tokens, finished = bench.told["a"]
    assert started == Started(num_prompt_tokens=3, num_cached_tokens=0)
    assert [type(event) for event in tokens] == [Tokens, Tokens]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.num_prompt_tokens, finished.num_output_tokens) == (
        "length",
        3,
        2,
    )
    assert bench.pool.num_used == 0


def test_a_stop_token_ends_the_request_and_is_counted_but_not_sent() -> None:
    prompt = [1, 2, 3]
    first, second, *_ = expected_tokens(prompt, 8)
    assert first != second
    bench = Bench()
    bench.submit(make_submit("a", prompt, max_tokens=8, stop_token_ids=(second,)))
    bench.run()
    finished = bench.told["a"][-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.num_output_tokens) == ("stop", 2)
    assert bench.tokens("a") == [first]


def test_a_long_prompt_never_stalls_a_running_stream() -> None:
    bench = Bench(num_blocks=64, budget=8)
    bench.submit(make_submit("stream", [1], max_tokens=30))
    bench.step()
    bench.submit(make_submit("long", list(range(60)), max_tokens=1))
    for _ in range(5):
        before = len(bench.tokens("stream"))
        bench.step()
        assert len(bench.tokens("stream")) == before + 1
    assert not bench.tokens("long")
    bench.run()
    assert bench.tokens("long") == expected_tokens(list(range(60)), 1)


def test_requests_join_and_leave_between_steps() -> None:
    bench = Bench()
    bench.submit(make_submit("a", [1], max_tokens=6))
    bench.step()
    bench.submit(make_submit("b", [2], max_tokens=2))
    bench.run()
    assert bench.runner.batch_sizes == [1, 2, 2, 1, 1, 1]


def test_when_memory_runs_dry_the_youngest_is_computed_again_with_the_same_tokens() -> None:
    bench = Bench(num_blocks=8, block_size=2, budget=16)
    for name in "abc":
        bench.submit(make_submit(name, [1, 2, ord(name) % 7], max_tokens=8))
    bench.run()
    for name in "abc":
        assert bench.tokens(name) == expected_tokens([1, 2, ord(name) % 7], 8)
    stats = bench.scheduler.stats(0)
    assert stats.num_preemptions > 0
    last = bench.told["c"][-1]
    assert isinstance(last, Finished)
    assert last.timings.num_preemptions == len(last.timings.queues) - 1 > 0
    first = bench.told["a"][-1]
    assert isinstance(first, Finished)
    assert first.timings.num_preemptions == 0


@pytest.mark.parametrize("num_tokens", [0, 64, 65, 1000])
def test_a_prompt_that_can_never_run_fails_at_once(num_tokens: int) -> None:
    bench = Bench()
    bench.submit(make_submit("a", [1] * num_tokens))
    assert [getattr(event, "code", "") for event in bench.told["a"]] == ["context_length_exceeded"]
    assert not bench.scheduler.has_work


def test_generation_ends_at_the_context() -> None:
    bench = Bench(num_blocks=4, block_size=4)
    bench.submit(make_submit("a", [1] * 10, max_tokens=100))
    bench.run()
    assert bench.tokens("a") == expected_tokens([1] * 10, 6)
    assert getattr(bench.told["a"][-1], "reason", "") == "length"


def test_numbers_that_are_not_finite_end_that_request_alone() -> None:
    bench = Bench()
    bench.submit(make_submit("bad", [1]))
    bench.submit(make_submit("good", [2]))
    plan = bench.scheduler.schedule(NOW)
    _, good = bench.runner.execute(plan).sampled
    bench.note(bench.scheduler.update(plan, StepResult((None, good)), NOW))
    assert [getattr(event, "code", "") for event in bench.told["bad"]] == ["engine_error"]
    bench.run()
    assert bench.tokens("good") == expected_tokens([2], 4)


def test_an_abort_while_a_step_runs_is_not_undone_by_its_result() -> None:
    bench = Bench()
    bench.submit(make_submit("a", [1]))
    plan = bench.scheduler.schedule(NOW)
    bench.note(bench.scheduler.abort("a", "abort"))
    bench.note(bench.scheduler.update(plan, bench.runner.execute(plan), NOW))
    assert [type(event) for event in bench.told["a"]] == [Finished]
    assert bench.pool.num_used == 0


def num_cached(bench: Bench, name: str) -> int:
    started = bench.told[name][0]
    assert isinstance(started, Started)
    return started.num_cached_tokens


def test_a_repeated_prompt_skips_its_full_blocks_and_gives_the_same_tokens() -> None:
    bench = Bench()
    prompt = list(range(7)) * 2
    for name in ("first", "second"):
        bench.submit(make_submit(name, prompt))
        bench.run()
        assert bench.tokens(name) == expected_tokens(prompt, 4)
    assert (num_cached(bench, "first"), num_cached(bench, "second")) == (0, 12)


def test_a_prompt_that_is_cached_whole_still_computes_its_last_token() -> None:
    bench = Bench()
    for name in ("first", "second"):
        bench.submit(make_submit(name, [1] * 8))
        bench.run()
    assert num_cached(bench, "second") == 4
    assert bench.tokens("second") == expected_tokens([1] * 8, 4)


def test_a_burst_with_one_prefix_computes_it_once() -> None:
    bench = Bench(num_blocks=64, budget=16)
    prefix = [1, 2, 3, 4] * 10
    computed = 0
    for number in range(6):
        bench.submit(make_submit(str(number), [*prefix, number], max_tokens=1))
    while bench.scheduler.has_work:
        computed += bench.step()
    assert computed == len(prefix) + 6
    for number in range(6):
        assert bench.tokens(str(number)) == expected_tokens([*prefix, number], 1)


def test_who_need_not_wait_for_a_prefix_overtakes_who_must() -> None:
    bench = Bench(num_blocks=64, budget=16)
    bench.submit(make_submit("a", [1] * 40, max_tokens=1))
    bench.submit(make_submit("same prefix", [1] * 40, max_tokens=1))
    bench.submit(make_submit("other", [2] * 3, max_tokens=1))
    for _ in range(3):
        bench.step()
    assert bench.told["other"]
    assert not bench.told["same prefix"]
    bench.run()


def test_tenants_share_nothing() -> None:
    bench = Bench()
    for tenant in ("one", "two"):
        bench.submit(make_submit(tenant, [1] * 12, tenant=tenant))
        bench.run()
        assert num_cached(bench, tenant) == 0


def test_blocks_of_numbers_that_are_not_finite_are_zeroed_and_never_found() -> None:
    bench = Bench()
    bench.submit(make_submit("bad", [1] * 9))
    plan = bench.scheduler.schedule(NOW)
    blocks = plan.sequences[0].block_table
    bench.note(bench.scheduler.update(plan, StepResult((None,)), NOW))
    bench.submit(make_submit("good", [1] * 9))
    plan = bench.scheduler.schedule(NOW)
    assert set(plan.dirty_blocks) == set(blocks)
    assert plan.sequences[0].start_position == 0
    bench.note(bench.scheduler.update(plan, bench.runner.execute(plan), NOW))
    assert not bench.scheduler.schedule(NOW).dirty_blocks


def test_dirty_blocks_wait_for_a_step_that_really_runs() -> None:
    bench = Bench()
    bench.submit(make_submit("bad", [1] * 9))
    plan = bench.scheduler.schedule(NOW)
    blocks = set(plan.sequences[0].block_table)
    bench.note(bench.scheduler.fail(["bad"], "engine_error", "the step raised"))
    assert not bench.scheduler.schedule(NOW).sequences
    bench.submit(make_submit("good", [1] * 9))
    assert set(bench.scheduler.schedule(NOW).dirty_blocks) >= blocks


def test_what_nobody_has_seen_a_token_of_is_neither_found_nor_left_dirty() -> None:
    bench = Bench(budget=8)
    bench.submit(make_submit("gone", [1] * 12))
    bench.step()
    bench.note(bench.scheduler.abort("gone", "abort"))
    bench.submit(make_submit("next", [1] * 12))
    plan = bench.scheduler.schedule(NOW)
    assert plan.sequences[0].start_position == 0
    assert plan.dirty_blocks


def test_finishes_are_counted_by_reason() -> None:
    bench = Bench()
    bench.submit(make_submit("length", [1], max_tokens=1))
    bench.submit(make_submit("gone", [1]))
    bench.submit(make_submit("matched", [1]))
    bench.submit(make_submit("too long", [1] * 100))
    bench.note(bench.scheduler.abort("gone", "abort"))
    bench.note(bench.scheduler.abort("matched", "stop"))
    bench.run()
    assert bench.scheduler.stats(0).finishes == {"length": 1, "abort": 1, "stop": 1, "error": 1}


@pytest.mark.parametrize("seed", range(300))
def test_any_crowd_gives_each_request_what_it_would_have_got_alone(seed: int) -> None:
    """Arrivals, aborts, tight memory and small budgets in random order, all checked each step."""
    rng = random.Random(seed)
    bench = Bench(
        num_blocks=rng.randint(6, 20), block_size=rng.choice([1, 2, 4]), budget=rng.randint(8, 16)
    )
    context = bench.pool.num_blocks * bench.pool.block_size
    asked: dict[str, tuple[list[int], int]] = {}
    aborted: set[str] = set()
    for number in range(rng.randint(1, 25)):
        name = str(number)
        length = rng.randint(1, context - 1)
        # Half of the prompts share prefixes with others of their kind.
        shared = [1 + i % 3 for i in range(length)]
        own = [rng.randrange(7) for _ in range(length)]
        cut = rng.choice([0, length // 2, length])
        prompt = shared[:cut] + own[cut:]
        asked[name] = (prompt, min(rng.randint(1, 12), context - len(prompt)))
        bench.submit(make_submit(name, *asked[name]))
        for _ in range(rng.randint(0, 4)):
            bench.step()
        if rng.random() < 0.2:
            victim = rng.choice(list(asked))
            aborted.add(victim)
            bench.note(bench.scheduler.abort(victim, "abort"))
    bench.run()
    assert bench.pool.num_used == 0
    for name, (prompt, count) in asked.items():
        assert len(terminal_events(bench.told[name])) == 1
        tokens, expected = bench.tokens(name), expected_tokens(prompt, count)
        assert tokens == (expected[: len(tokens)] if name in aborted else expected)
