from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import pytest

from engine.config import SchedulerConfig
from engine.policies.dynamic import MAX_OVERTAKEN
from engine.protocol import (
    Event,
    Failed,
    Finished,
    RequestEvent,
    SampleFinished,
    SamplingParams,
    Started,
    Submit,
    Tokens,
    pack_token_ids,
)
from engine.scheduler import Scheduler
from engine.step import StepPlan, StepResult
from tests.hash_runner import HashRunner, Windows, expected_tokens, make_cache
from tests.requirements import requirement

NOW = 1_000
_OF_REQUEST = ("num_samples", "priority", "deadline_ns")


def make_submit(
    request_id: str, prompt: list[int], max_tokens: int = 4, tenant: str = "", **params: object
) -> Submit:
    of_request = {k: params.pop(k) for k in _OF_REQUEST if k in params}
    fields = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0, **params}
    sampling = SamplingParams(max_tokens, **fields)  # type: ignore[arg-type]
    return Submit(request_id, pack_token_ids(prompt), sampling, 0, tenant, **of_request)  # type: ignore[arg-type]


class Bench:
    """A scheduler, a hash runner and what each request has been told."""

    now = NOW

    def __init__(
        self,
        num_blocks: int = 16,
        block_size: int = 4,
        budget: int = 16,
        windows: Windows = (None,),
        vocab_size: int = 1 << 32,
        **config: object,
    ) -> None:
        self.max_len = num_blocks * block_size
        self.windows = windows
        self.cache = make_cache(num_blocks, block_size, windows, budget)
        self.pool = self.cache.groups[0].pool
        limits = SchedulerConfig(**{"max_batch_tokens": budget, "max_running": 8, **config})
        self.scheduler = Scheduler(
            self.cache, limits, max_model_len=self.max_len, vocab_size=vocab_size
        )
        self.runner = HashRunner(num_blocks, block_size, windows)
        self.told: defaultdict[str, list[RequestEvent]] = defaultdict(list)

    def note(self, events: list[tuple[str, RequestEvent]]) -> None:
        for request_id, event in events:
            self.told[request_id].append(event)
        self.scheduler.check()

    def submit(self, submit: Submit) -> None:
        self.note(self.scheduler.submit(submit, self.now))

    def step(self) -> int:
        plan = self.scheduler.schedule(self.now)
        self.scheduler.check()
        assert plan.num_tokens <= 16
        if plan.rows:
            self.note(self.scheduler.update(plan, self.runner.execute(plan), self.now))
        return plan.num_tokens

    def run(self) -> None:
        for _ in range(10_000):
            if not self.scheduler.has_work:
                return
            self.step()
        raise AssertionError("the scheduler never came to an end")

    def tokens(self, request_id: str, sample: int = 0) -> list[int]:
        events = [e for e in self.told[request_id] if isinstance(e, Tokens) and e.sample == sample]
        return [t for e in events for t in e.token_ids]

    def blocks_in(self, plan: StepPlan) -> set[tuple[int, int]]:
        """(group, block) of all blocks that the plan gives to rows."""
        return {(change.group, block) for change in plan.table_changes for block in change.blocks}


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


@requirement("chat.request.stop_token_ids")
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


@pytest.mark.parametrize(
    ("prompt", "params"),
    [
        ([1, 7], {}),
        ([1], {"num_samples": 0}),
        ([1], {"num_samples": 10**9}),
        ([1], {"num_samples": -1}),
        ([1], {"max_tokens": 0}),
        ([1], {"max_tokens": -5}),
    ],
)
def test_what_the_service_should_have_refused_fails_alone(
    prompt: list[int], params: dict[str, int]
) -> None:
    bench = Bench(vocab_size=7)
    bench.submit(make_submit("good", [2]))
    bench.submit(make_submit("bad", prompt, **params))  # type: ignore[arg-type]
    assert [getattr(event, "code", "") for event in bench.told["bad"]] == ["invalid_request"]
    bench.run()
    assert bench.tokens("good") == expected_tokens([2], 4)


def test_a_second_request_of_the_same_id_is_refused_and_the_first_goes_on() -> None:
    bench = Bench()
    bench.submit(make_submit("a", [2]))
    bench.step()
    (refused,) = bench.scheduler.submit(make_submit("a", [3]), bench.now)
    assert getattr(refused[1], "code", "") == "invalid_request"
    bench.run()
    assert bench.tokens("a") == expected_tokens([2], 4)


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
    _, good = bench.runner.execute(plan).token_ids
    bench.note(bench.scheduler.update(plan, StepResult([None, good]), NOW))
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
    blocks = bench.blocks_in(plan)
    bench.note(bench.scheduler.update(plan, StepResult([None]), NOW))
    bench.submit(make_submit("good", [1] * 9))
    plan = bench.scheduler.schedule(NOW)
    assert set(plan.dirty_blocks) == blocks
    assert list(plan.starts) == [0]
    bench.note(bench.scheduler.update(plan, bench.runner.execute(plan), NOW))
    assert not bench.scheduler.schedule(NOW).dirty_blocks


def test_dirty_blocks_wait_for_a_step_that_really_runs() -> None:
    bench = Bench()
    bench.submit(make_submit("bad", [1] * 9))
    plan = bench.scheduler.schedule(NOW)
    blocks = bench.blocks_in(plan)
    bench.note(bench.scheduler.fail_step(plan, "engine_error", "the step raised"))
    assert not bench.scheduler.schedule(NOW).rows
    bench.submit(make_submit("good", [1] * 9))
    assert set(bench.scheduler.schedule(NOW).dirty_blocks) >= blocks


def test_what_nobody_has_seen_a_token_of_is_neither_found_nor_left_dirty() -> None:
    bench = Bench(budget=8)
    bench.submit(make_submit("gone", [1] * 12))
    bench.step()
    bench.note(bench.scheduler.abort("gone", "abort"))
    bench.submit(make_submit("next", [1] * 12))
    plan = bench.scheduler.schedule(NOW)
    assert list(plan.starts) == [0]
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


def samples_told(bench: Bench, name: str) -> dict[int, str]:
    """How each sample ended; those that ended with the request are under -1."""
    ends = {}
    for event in bench.told[name]:
        if isinstance(event, SampleFinished):
            ends[event.sample] = event.reason
        elif isinstance(event, Finished):
            ends[-1] = event.reason
    return ends


def test_samples_share_the_prompt_and_differ_from_there() -> None:
    bench = Bench(num_blocks=32)
    prompt = [1, 2, 3, 4, 5, 6]
    bench.submit(make_submit("a", prompt, max_tokens=5, num_samples=4))
    bench.step()
    assert bench.pool.num_used == 2, "all four hold the two blocks of the prompt"
    bench.run()
    for sample in range(4):
        assert bench.tokens("a", sample) == expected_tokens(prompt, 5, sample=sample)
    assert len(samples_told(bench, "a")) == 4
    finished = bench.told["a"][-1]
    assert isinstance(finished, Finished)
    assert (finished.num_prompt_tokens, finished.num_output_tokens) == (6, 20)


def test_the_block_in_which_a_prompt_ends_is_copied_by_all_but_the_last_writer() -> None:
    bench = Bench(num_blocks=32)
    bench.submit(make_submit("a", [1, 2, 3, 4, 5, 6], num_samples=3))
    bench.step()
    plan = bench.scheduler.schedule(NOW)
    assert len(plan.copies) == 2
    bench.note(bench.scheduler.update(plan, bench.runner.execute(plan), NOW))
    bench.run()


def test_samples_that_find_no_place_wait_for_one() -> None:
    bench = Bench(num_blocks=32, max_running=2)
    bench.submit(make_submit("a", [1] * 9, num_samples=5))
    bench.run()
    for sample in range(5):
        assert bench.tokens("a", sample) == expected_tokens([1] * 9, 4, sample=sample)


@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_a_sample_can_be_ended_at_any_time_without_the_others(num_steps: int) -> None:
    bench = Bench(num_blocks=32, budget=8)
    prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    bench.submit(make_submit("a", prompt, num_samples=3))
    for _ in range(num_steps):
        bench.step()
    bench.note(bench.scheduler.abort("a", "stop", sample=0))
    bench.note(bench.scheduler.abort("a", "stop", sample=2))
    bench.run()
    assert bench.tokens("a", 1) == expected_tokens(prompt, 4, sample=1)
    assert samples_told(bench, "a") == {0: "stop", 2: "stop", -1: "length"}


def test_a_window_holds_no_more_blocks_than_it_sees() -> None:
    bench = Bench(num_blocks=40, block_size=2, budget=8, windows=(6,))
    bench.submit(make_submit("a", list(range(50)), max_tokens=20))
    while bench.scheduler.has_work:
        bench.step()
        # The window, the step's tokens, and a block cut at each end.
        assert bench.pool.num_used <= (6 + 8) // 2 + 2
    assert bench.tokens("a") == expected_tokens(list(range(50)), 20, (6,))


def test_a_prefix_is_found_if_its_last_window_is_there() -> None:
    bench = Bench(num_blocks=40, block_size=2, windows=(None, 6))
    prompt = list(range(30))
    for name in ("first", "second"):
        bench.submit(make_submit(name, prompt))
        bench.run()
        assert bench.tokens(name) == expected_tokens(prompt, 4, (None, 6))
    assert (num_cached(bench, "first"), num_cached(bench, "second")) == (0, 28)


def test_one_request_at_a_time_without_continuous_batching() -> None:
    bench = Bench(continuous_batching=False)
    for name in "abc":
        bench.submit(make_submit(name, [1, ord(name)], num_samples=2))
    bench.run()
    assert set(bench.runner.batch_sizes) == {1}


def start_order(bench: Bench) -> list[str]:
    """Names in the order of their first tokens."""
    bench.run()
    firsts = {name: e for name in bench.told for e in bench.told[name] if isinstance(e, Finished)}
    return sorted(firsts, key=lambda name: firsts[name].timings.prefill_start_ns)


class Clocked(Bench):
    """Each step takes a nanosecond, so that starts can be told apart."""

    now = 1

    def step(self) -> int:
        self.now += 1
        return super().step()


@requirement("chat.request.priority")
def test_the_most_urgent_starts_first_under_priority() -> None:
    bench = Clocked(policy="priority", max_running=1)
    for name, priority in {"late": 5, "urgent": -1, "usual": 0, "usual too": 0}.items():
        bench.submit(make_submit(name, [1], priority=priority))
    assert start_order(bench) == ["urgent", "usual", "usual too", "late"]


def test_under_priority_the_least_urgent_yields_its_memory() -> None:
    bench = Bench(num_blocks=8, block_size=2, policy="priority")
    bench.submit(make_submit("least", [1, 2, 3], max_tokens=8, priority=9))
    bench.submit(make_submit("most", [4, 2, 3], max_tokens=8))
    bench.submit(make_submit("middle", [5, 2, 3], max_tokens=8, priority=3))
    bench.run()
    finished = {name: bench.told[name][-1] for name in bench.told}
    preempted = {
        n: e.timings.num_preemptions for n, e in finished.items() if isinstance(e, Finished)
    }
    assert preempted["least"] > 0
    assert preempted["most"] == 0


def test_tenants_take_turns_under_dynamic() -> None:
    bench = Clocked(policy="dynamic", max_running=1)
    for index in range(6):
        bench.submit(make_submit(f"flood {index}", [index], tenant="loud"))
    bench.submit(make_submit("quiet", [9], tenant="quiet"))
    assert start_order(bench).index("quiet") <= 1


def test_short_prompts_go_first_under_dynamic_and_cached_tokens_do_not_count() -> None:
    bench = Clocked(policy="dynamic", max_running=1, num_blocks=32)
    bench.submit(make_submit("seen", [7] * 20))
    bench.run()
    bench.submit(make_submit("busy", [5]))
    bench.step()
    for name, prompt in {"long": [1] * 20, "cached": [7] * 21, "short": [2] * 9}.items():
        bench.submit(make_submit(name, prompt))
    assert start_order(bench)[2:] == ["cached", "short", "long"]


def test_under_dynamic_a_long_prompt_is_passed_over_so_often_and_no_more() -> None:
    bench = Clocked(policy="dynamic", max_running=1, num_blocks=32)
    bench.submit(make_submit("busy", [5]))
    bench.step()
    bench.submit(make_submit("long", [1] * 20, max_tokens=1))
    for index in range(2 * MAX_OVERTAKEN):
        bench.submit(make_submit(f"short {index}", [index], max_tokens=1))
    assert start_order(bench).index("long") == 1 + MAX_OVERTAKEN


def test_what_cannot_start_before_its_deadline_is_refused_at_once() -> None:
    bench = Clocked(max_running=1)
    for index in range(30):
        bench.submit(make_submit(f"a{index}", [index], max_tokens=2))
    for _ in range(20):
        bench.step()
    bench.note(
        bench.scheduler.submit(make_submit("hasty", [1], deadline_ns=bench.now + 2), bench.now)
    )
    assert [getattr(e, "code", "") for e in bench.told["hasty"]] == ["deadline_unreachable"]
    late = make_submit("patient", [1], deadline_ns=bench.now + 1000)
    bench.note(bench.scheduler.submit(late, bench.now))
    bench.run()
    assert bench.tokens("patient") == expected_tokens([1], 4)


def test_a_deadline_that_passes_in_the_queue_is_told() -> None:
    bench = Clocked(max_running=1)
    bench.submit(make_submit("busy", [1], max_tokens=20))
    bench.step()
    bench.submit(make_submit("waits", [1], deadline_ns=5))
    bench.submit(make_submit("waits for ever", [1]))
    bench.note(bench.scheduler.expire(5))
    assert not bench.told["waits"]
    bench.note(bench.scheduler.expire(6))
    assert [getattr(e, "code", "") for e in bench.told["waits"]] == ["deadline_unreachable"]
    bench.run()
    assert bench.tokens("waits for ever")


def test_nobody_yields_twice_in_a_row_while_another_can() -> None:
    bench = Bench(num_blocks=20, block_size=1, budget=8)
    counts = dict.fromkeys("abc", 0)
    for name in counts:
        bench.submit(make_submit(name, [ord(name) % 7], max_tokens=18))
    preempted: list[str] = []
    while bench.scheduler.has_work:
        bench.step()
        for request_id, request in bench.scheduler._requests.items():
            if request.num_preemptions > counts[request_id]:
                counts[request_id] = request.num_preemptions
                preempted.append(request_id)
    assert len(preempted) > 1
    assert all(one != other for one, other in pairwise(preempted))


@pytest.mark.parametrize("seed", range(600))
def test_any_crowd_gives_each_request_what_it_would_have_got_alone(seed: int) -> None:
    """Arrivals, samples, windows, aborts, tight memory and small budgets in random order, all
    checked each step."""
    rng = random.Random(seed)
    bench = Bench(
        num_blocks=rng.randint(6, 20),
        block_size=rng.choice([1, 2, 4]),
        budget=rng.randint(8, 16),
        windows=rng.choice([(None,), (None,), (5,), (None, 3), (None, 2, 7)]),
        policy=rng.choice(["fifo", "priority", "dynamic"]),
    )
    context = bench.max_len
    asked: dict[str, tuple[list[int], int, int]] = {}
    aborted: set[str] = set()
    for number in range(rng.randint(1, 25)):
        name = str(number)
        length = rng.randint(1, context - 1)
        # Half of the prompts share prefixes with others of their kind.
        shared = [1 + i % 3 for i in range(length)]
        own = [rng.randrange(7) for _ in range(length)]
        cut = rng.choice([0, length // 2, length])
        prompt = shared[:cut] + own[cut:]
        count = min(rng.randint(1, 12), context - len(prompt))
        num_samples = rng.choice([1, 1, 1, 2, 3])
        asked[name] = prompt, count, num_samples
        bench.submit(
            make_submit(
                name,
                prompt,
                count,
                tenant=rng.choice("xxy"),
                num_samples=num_samples,
                priority=rng.choice([0, 0, 1]),
            )
        )
        for _ in range(rng.randint(0, 4)):
            bench.step()
        if rng.random() < 0.2:
            victim = rng.choice(list(asked))
            aborted.add(victim)
            sample = rng.choice([None, 0, 1])
            bench.note(bench.scheduler.abort(victim, "abort", sample))
    bench.run()
    assert bench.cache.num_blocks_used == 0
    for name, (prompt, count, num_samples) in asked.items():
        assert len(terminal_events(bench.told[name])) == 1
        for sample in range(num_samples):
            tokens = bench.tokens(name, sample)
            expected = expected_tokens(prompt, count, bench.windows, sample)
            assert tokens == (expected[: len(tokens)] if name in aborted else expected)
