"""Replays a trace through scheduler and prefix cache in virtual time. No model, no real clock.

A step takes `step_ms` and the time that its tokens take at `tokens_per_s`. When one token stands
for 16, one step stands for 16 steps, so answers take as long and the pressure on the cache is that
of the original.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from tqdm import tqdm

from observability.bench.workload.trace import NS_PER_S
from tests.perf.replay.oracle import instant_lru_cached_tokens, oracle_cached_tokens
from tests.perf.replay.scheduler_seat import SchedulerSeat

if TYPE_CHECKING:
    from engine.protocol import Finished
    from observability.bench.workload.trace import Trace


class Speed(msgspec.Struct, frozen=True):
    """What the replayed engine can do, in tokens of the original trace."""

    step_ms: float = 20.0
    tokens_per_s: float = 100_000.0
    max_batch_tokens: int = 8192
    max_running: int = 256

    def step_ns(self, num_tokens: int, scale: int) -> int:
        """How long a step of `num_tokens` replayed tokens takes."""
        seconds = self.step_ms / 1000 + num_tokens / self.tokens_per_s
        return round(scale * seconds * NS_PER_S)


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one replay. Tokens are those of the replay: times `scale` for the original's.

    `num_blocks` of `block_size` tokens is the cache; `is_unbounded` says that it can hold all
    tokens of the trace at once. `mean_running` is over the virtual time; delays are from arrival
    to the first step. `wall_s` is real time, the scheduler's and that of making the prompts.
    """

    trace: str
    has_content: bool
    scale: int
    block_size: int
    num_blocks: int
    is_unbounded: bool
    speed: Speed
    num_requests: int
    num_finished: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_oracle_tokens: int
    num_lru_tokens: int
    num_output_tokens: int
    num_steps: int
    num_preemptions: int
    num_preempted_requests: int
    mean_running: float
    queue_p50_s: float
    queue_p99_s: float
    trace_s: float
    virtual_s: float
    wall_s: float

    @property
    def hit_rate(self) -> float:
        """The share of prompt tokens that were found in the cache."""
        return self.num_cached_tokens / self.num_prompt_tokens

    @property
    def oracle_rate(self) -> float:
        """The same by the oracle, for a cache without bound."""
        return self.num_oracle_tokens / self.num_prompt_tokens

    @property
    def lru_rate(self) -> float:
        """The same for a cache of this size whose requests take no time."""
        return self.num_lru_tokens / self.num_prompt_tokens

    @property
    def cache_tokens(self) -> int:
        """The cache's size in tokens of the original trace."""
        return self.num_blocks * self.block_size * self.scale


def num_blocks_of(trace: Trace, block_size: int, cache_tokens: int | None) -> int:
    """Blocks of a cache of `cache_tokens` original tokens; None: of one that holds the trace."""
    if cache_tokens is not None:
        return cache_tokens // trace.scale // block_size
    lengths = (r.num_prompt_tokens + r.num_output_tokens + 1 for r in trace.requests)
    return sum(-(-length // block_size) for length in lengths)


def smallest_cache_tokens(trace: Trace) -> int:
    """The smallest power of two, in original tokens, that holds the longest request."""
    return 1 << ((trace.max_len + 1) * trace.scale).bit_length()


def replay(
    trace: Trace,
    *,
    block_size: int = 16,
    cache_tokens: int | None = None,
    speed: Speed | None = None,
    checks_every_step: bool = False,
) -> ReplayResult:
    """Run the whole trace; `cache_tokens` (of the original) None is a cache without bound.

    ValueError if a trace block is not a number of whole cache blocks: another cut would be judged
    than the one that was made.
    """
    if trace.block_tokens % block_size:
        raise ValueError(
            f"{block_size} does not divide a trace block of {trace.block_tokens} tokens"
        )
    speed = speed or Speed()
    num_blocks = num_blocks_of(trace, block_size, cache_tokens)
    seat = SchedulerSeat(
        num_blocks=num_blocks,
        block_size=block_size,
        max_batch_tokens=speed.max_batch_tokens,
        max_running=speed.max_running,
        max_model_len=trace.max_len + 1,
    )
    start = time.perf_counter()
    run = _Run(trace, seat, speed)
    run.run(checks_every_step=checks_every_step)
    wall_s = time.perf_counter() - start
    finished = run.finished
    delays_s = sorted(
        (one.timings.queues[0][1] - one.timings.queues[0][0]) / NS_PER_S for one in finished
    )
    return ReplayResult(
        trace=trace.name,
        has_content=trace.has_content,
        scale=trace.scale,
        block_size=block_size,
        num_blocks=num_blocks,
        is_unbounded=cache_tokens is None,
        speed=speed,
        num_requests=len(trace.requests),
        num_finished=len(finished),
        num_prompt_tokens=sum(one.num_prompt_tokens for one in finished),
        num_cached_tokens=sum(one.num_cached_tokens for one in finished),
        num_oracle_tokens=oracle_cached_tokens(trace, block_size),
        num_lru_tokens=instant_lru_cached_tokens(trace, block_size, num_blocks),
        num_output_tokens=sum(one.num_output_tokens for one in finished),
        num_steps=run.num_steps,
        num_preemptions=seat.num_preemptions,
        num_preempted_requests=sum(one.timings.num_preemptions > 0 for one in finished),
        mean_running=run.running_ns / run.now_ns,
        queue_p50_s=delays_s[len(delays_s) // 2],
        queue_p99_s=delays_s[len(delays_s) * 99 // 100],
        trace_s=trace.requests[-1].arrived_ns / NS_PER_S,
        virtual_s=run.now_ns / NS_PER_S,
        wall_s=wall_s,
    )


class _Run:
    """The virtual clock and what it has brought so far."""

    def __init__(self, trace: Trace, seat: SchedulerSeat, speed: Speed) -> None:
        self._trace = trace
        self._seat = seat
        self._speed = speed
        self._num_submitted = 0
        self.now_ns = 0
        self.num_steps = 0
        self.running_ns = 0
        self.finished: list[Finished] = []

    def run(self, *, checks_every_step: bool) -> None:
        """To the end: every request has finished and the cache is nobody's."""
        requests = self._trace.requests
        with tqdm(total=len(requests), unit="request", leave=False, disable=None) as progress:
            while len(self.finished) < len(requests):
                self._submit_arrived()
                if not self._seat.has_work:
                    self.now_ns = requests[self._num_submitted].arrived_ns
                    continue
                progress.update(self._step())
                if checks_every_step:
                    self._seat.check()
        self._seat.check()
        assert not self._seat.num_blocks_used, "a block is held after the last request"

    def _submit_arrived(self) -> None:
        requests = self._trace.requests
        while self._num_submitted < len(requests):
            request = requests[self._num_submitted]
            if request.arrived_ns > self.now_ns:
                return
            prompt = self._trace.prompt(request)
            name, max_tokens = str(self._num_submitted), request.num_output_tokens
            self._seat.submit(name, prompt, max_tokens, request.arrived_ns, self.now_ns)
            self._num_submitted += 1

    def _step(self) -> int:
        """One step; how many requests it ended."""
        num_tokens = self._seat.begin_step(self.now_ns)
        assert num_tokens, "requests wait, nothing runs, and none is started"
        step_ns = self._speed.step_ns(num_tokens, self._trace.scale)
        self.running_ns += step_ns * self._seat.num_running
        self.now_ns += step_ns
        self.num_steps += 1
        ended = self._seat.end_step(self.now_ns)
        self.finished += ended
        return len(ended)
