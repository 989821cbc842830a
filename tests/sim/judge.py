"""`Judge`: the invariants of schedulers and caches, looked at before and after each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.kv_cache import NO_BLOCK
from tests.sim.failure import claim

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from engine.policies.base import WaitingQueue
    from engine.scheduler import Scheduler
    from engine.sequence import Sequence
    from engine.step import StepPlan
    from tests.sim.scenario import ModelShape


class WatchedQueue:
    """A `WaitingQueue` that counts how often each of its sequences is passed over.

    The promise of `DynamicQueue`: whoever finds p sequences before it starts after at most
    (MAX_OVERTAKEN + 1) * (p + 1) starts. One of the older that comes back later, preempted, is not
    in that count: it has its own turn, and what the oldest had been passed over by then is
    forgotten.
    """

    def __init__(self, inner: WaitingQueue, max_overtaken: int | None) -> None:
        self._inner = inner
        self._max_overtaken = max_overtaken
        self._num_starts = 0
        self._waits: dict[tuple[int, int], list[int]] = {}

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._inner)

    @property
    def head(self) -> Sequence | None:
        return self._inner.head

    def candidates(self) -> Iterator[Sequence]:
        return self._inner.candidates()

    def started(self, sequence: Sequence) -> None:
        self._inner.started(sequence)

    def stopped(self, sequence: Sequence) -> None:
        self._inner.stopped(sequence)

    def add(self, sequence: Sequence) -> None:
        self._inner.add(sequence)
        if self._max_overtaken is None:
            return
        key = sequence.number, sequence.sample
        turn = self._max_overtaken + 1
        num_before = sum(other < key for other in self._waits)
        for other, wait in self._waits.items():
            if key < other:
                wait[1] += 2 * turn
        self._waits[key] = [self._num_starts, turn * (num_before + 1)]

    def remove(self, sequence: Sequence, *, starts: bool) -> None:
        self._inner.remove(sequence, starts=starts)
        if self._max_overtaken is None:
            return
        self._num_starts += starts
        for begun_at, most in self._waits.values():
            claim(self._num_starts - begun_at <= most, "nobody is passed over for ever")
        del self._waits[sequence.number, sequence.sample]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def check_conservation(scheduler: Scheduler, shape: ModelShape) -> None:
    """Blocks, rows and sequences are neither lost nor doubled. In sums, and so each step: which
    block and which sequence it is says `Scheduler.check`, which takes longer."""
    batch = scheduler._batch
    running = batch.running
    num_owned = sum([len(request.sequences) for request in scheduler._requests.values()])
    claim(len(running) + len(batch.waiting) == num_owned, "a sequence runs or waits")
    num_rows = len(running) + len(batch._free_rows)
    claim(num_rows == shape.config.num_rows, "a row is free or somebody's")
    for index, group in enumerate(batch.cache.groups):
        pool = group.pool
        holders = pool._num_holders
        held = [len(s.tables[index]) - s.tables[index].count(NO_BLOCK) for s in running]
        claim(sum(holders) == sum(held), "who holds a block has it in his table")
        claim(pool.num_used == len(holders) - holders.count(0), "a block is free, cached or held")
        promised = [s.num_reserved_blocks[index] for s in running]
        claim(group.num_reserved == sum(promised), "what is promised is somebody's")
        if group.window is not None:
            kept = all(num <= most for num, most in zip(held, promised, strict=True))
            claim(kept, "nobody takes more than was promised to him")


def check_plan(scheduler: Scheduler, shape: ModelShape, plan: StepPlan) -> list[str]:
    """A plan keeps to its limits, is of those that run, and writes into nobody else's blocks.
    Gives the request of each of its sequences."""
    claim(plan.num_tokens <= shape.config.max_batch_tokens, "a step keeps to its budget")
    claim(sum(plan.counts) == len(plan.token_ids), "each token is somebody's")
    claim(len(set(plan.rows)) == len(plan.rows), "a row is in a step once")
    claim(max(plan.rows) < shape.config.num_rows, "a row has its place in the batch")
    by_row = {s.row: s for s in scheduler._batch.running}
    claim(len(by_row) == len(scheduler._batch.running), "a row is one sequence's")
    names, offset = [], 0
    for row, start, count, draws in zip(
        plan.rows, plan.starts, plan.counts, plan.draws, strict=True
    ):
        sequence = by_row.pop(row, None)
        if sequence is None:
            claim(False, "who is in a step runs")
            continue
        end = start + count
        names.append(sequence.request.request_id)
        claim(count > 0 and start == sequence.num_computed_tokens, "nothing is computed twice")
        claim(draws == (end == sequence.num_tokens), "who is computed draws, and no one else")
        same = list(plan.token_ids[offset : offset + count]) == sequence.token_ids[start:end]
        claim(same, "what is computed is what the sequence holds")
        offset += count
        _check_writes(scheduler, shape, sequence, start, end)
    claim(
        all(s.num_tokens - s.num_computed_tokens > 1 for s in by_row.values()),
        "a running stream is in each step",
    )
    targets = {(group, block) for group, _, block in plan.copies}
    claim(len(targets) == len(plan.copies), "nothing is copied twice to one place")
    return names


def _check_writes(
    scheduler: Scheduler, shape: ModelShape, sequence: Sequence, start: int, end: int
) -> None:
    first, last = start // shape.block_size, (end - 1) // shape.block_size
    for group, table in zip(scheduler._cache.groups, sequence.tables, strict=True):
        claim(last < len(table), "there is room for what is computed")
        for block in table[first : last + 1]:
            claim(block >= 0, "a block that is written has not been given back")
            claim(group.pool.is_private(block), "who writes into a block is alone with it")


def check_work_conserved(scheduler: Scheduler, shape: ModelShape, plan: StepPlan) -> None:
    """Nobody waits while there are a row, tokens of the budget and blocks for the next in line.

    Not under `dynamic`: who is next changes there with each token, and the scheduler looks again
    only when a sequence comes or goes."""
    waiting = scheduler._batch.waiting
    if shape.config.policy == "dynamic" or not waiting or not scheduler._batch._free_rows:
        return
    if plan.num_tokens >= shape.config.max_batch_tokens:
        return
    for sequence in waiting.candidates():
        num_hits = scheduler._batch._num_hits(sequence)
        if sequence.waits_for in scheduler._cache._computing:
            continue
        claim(not _fits(scheduler, sequence, num_hits), "nobody waits for what is there")
        return


def _fits(scheduler: Scheduler, sequence: Sequence, num_hits: int) -> bool:
    cache = scheduler._cache
    peaks = [g.num_peak_blocks(sequence.max_len, cache._max_step_tokens) for g in cache.groups]
    if not cache._can_reserve(peaks):
        return False
    pool = cache.groups[0].pool
    if cache.groups[0].window is not None:
        return True
    hits = [pool.find(name) for name in sequence.block_names[:num_hits]]
    num_idle_hits = sum(block is not None and not pool.num_holders(block) for block in hits)
    num_missing = pool.num_blocks_for(sequence.num_tokens + 1) - num_hits
    return num_missing <= pool.num_available - num_idle_hits


def check_quiet(scheduler: Scheduler, shape: ModelShape) -> None:
    """Nothing is left of anybody, after a last request that came when all others were over."""
    scheduler.check()
    cache = scheduler._cache
    claim(not scheduler.has_work and not scheduler.request_ids, "no request is left")
    claim(not scheduler._batch.running and not len(scheduler._batch.waiting), "no sequence is left")
    claim(len(scheduler._batch._free_rows) == shape.config.num_rows, "every row is free")
    claim(not cache.num_blocks_used, "no block is held")
    claim(not any(group.num_reserved for group in cache.groups), "no block is promised")
    claim(not cache._computing and not cache._awaited, "no prefix is awaited")
    claim(
        not scheduler._batch._row_starts and not cache._table_changes, "the runner knows all rows"
    )
    claim(not cache._copies, "no copy is left to be made")
    claim(not scheduler._deadlines, "no deadline outlives its day")
    claim(not getattr(scheduler._batch.waiting, "_running", {}), "nobody is charged for any more")


def seen_in(scheduler: Scheduler, plan: StepPlan, seen: Counter[str]) -> None:
    """What the history has come through."""
    seen["copies"] += len(plan.copies)
    seen["dirty blocks"] += len(plan.dirty_blocks)
    seen["rows changed hands"] += len(plan.row_starts)
    seen["steps in chunks"] += not all(plan.draws)
    seen["steps with others waiting"] += bool(len(scheduler._batch.waiting))
    seen["steps with a prefix awaited"] += bool(scheduler._cache._awaited)
