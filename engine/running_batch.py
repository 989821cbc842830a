"""`RunningBatch`: who runs and who waits, and what the next step computes.

It knows sequences and blocks, and nothing of events: what the scheduler must tell of a request it
finds in the request.
"""

from __future__ import annotations

from array import array
from itertools import islice
from typing import TYPE_CHECKING

from engine.pace import Pace
from engine.policies.select import waiting_queue
from engine.policies.sorted_queue import by_priority
from engine.sequence import Sequence, SequenceState
from engine.step import RowStart, StepPlan

if TYPE_CHECKING:
    from engine.config import SchedulerConfig
    from engine.kv_cache import KVCache
    from engine.request import Request

_MAX_LOOKED_AT = 32
"""Waiting sequences that a step looks at: the names of a long queue's prompts would take long."""


class RunningBatch:
    """The running sequences with their rows, and the waiting ones in the order of the policy.

    A step takes all running sequences first, one token for each that decodes, then prefill in
    chunks from what is left of the budget: a long prompt never stalls a running stream. When
    the pool runs dry the least urgent, youngest sequence yields its blocks and is computed again
    later; not the one that yielded last, while another can.
    """

    def __init__(self, cache: KVCache, config: SchedulerConfig) -> None:
        self.cache = cache
        self._pace = Pace()
        self._is_in_order = config.policy == "fifo"
        self.waiting = waiting_queue(config.policy, self._num_uncached_tokens)
        self.running: list[Sequence] = []
        self.in_step: list[Sequence] = []
        """The sequences of the last plan, in its order."""
        self.num_preemptions = 0
        self._max_batch_tokens = config.max_batch_tokens
        self._free_rows = list(range(config.num_rows))[::-1]
        self._ones = array("q", [1]) * config.num_rows
        self._row_starts: list[RowStart] = []
        self._last_preempted: Request | None = None
        self._stuck_at = -1

    def add(self, sequence: Sequence) -> None:
        """Let it wait for its turn."""
        self.waiting.add(sequence)
        self._stuck_at = -1

    def expected_start_ns(self, now_ns: int) -> int:
        """When a sequence could start that comes now; never too late a time. Where others may be
        overtaken, or a row is left for it, that is now."""
        if len(self._free_rows) > len(self.waiting) or not self._is_in_order:
            return now_ns
        return self._pace.expected_start_ns(len(self.waiting), now_ns)

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """Let `child` run from where the prompt ends, or wait if there is no place."""
        if self._free_rows and self.cache.fork(parent, child):
            child.move_to(SequenceState.RUNNING)
            self._take_row(child)
        else:
            self.add(child)

    def plan(self, now_ns: int) -> StepPlan:
        """What the next step computes, its blocks allocated; no rows if there is nothing to run."""
        for sequence in [s for s in self.running if s.num_computed_tokens >= s.num_slots]:
            self._make_room(sequence, now_ns)
        plan = StepPlan()
        prefilling = self._add_decodes(plan)
        budget = self._max_batch_tokens - len(plan.rows)
        for sequence in prefilling:
            budget -= self._add_chunk(plan, sequence, budget)
        while budget and (admitted := self._admit(now_ns)) is not None:
            budget -= self._add_chunk(plan, admitted, budget)
        if plan.rows:
            plan.row_starts.extend(self._row_starts)
            self._row_starts.clear()
            self.cache.drain_changes(plan)
        return plan

    def remove(self, sequence: Sequence, *, is_clean: bool) -> None:
        """It is over. Not `is_clean`: its blocks may hold numbers that are not finite."""
        if sequence.state is SequenceState.RUNNING:
            self._stop_running(sequence, is_clean=is_clean)
        else:
            self.waiting.remove(sequence, starts=False)
            self._stuck_at = -1  # it may have been the one that there was no room for
        sequence.move_to(SequenceState.FINISHED)

    def rename(self, sequence: Sequence, sample: int) -> None:
        """The sample that computes the prompt has ended early: another one takes its place."""
        if sequence.state is SequenceState.WAITING:
            self.waiting.remove(sequence, starts=False)
            sequence.sample = sample
            self.add(sequence)
        else:
            sequence.sample = sample
            self._announce_row(sequence)
            self.cache.announce_tables(sequence)  # the runner forgets a row that starts anew

    def check(self) -> None:
        """Assert every invariant of queues, rows and blocks."""
        self.cache.check(self.running)
        assert all(s.state is SequenceState.RUNNING for s in self.running)
        assert all(s.state is SequenceState.WAITING and not s.tables for s in self.waiting)
        rows = [*self._free_rows, *(s.row for s in self.running)]
        assert sorted(rows) == list(range(len(rows))), "a row is lost, or has two owners"
        for sequence in self.running:
            assert sequence.num_tokens == len(sequence.token_ids) <= sequence.max_len
            assert sequence.num_computed_tokens < sequence.num_tokens

    def _add_decodes(self, plan: StepPlan) -> list[Sequence]:
        """Every sequence that has one token to compute; returns the others."""
        self.in_step = []
        prefilling: list[Sequence] = []
        add, rows, starts = self.in_step.append, plan.rows.append, plan.starts.append
        token_ids = plan.token_ids.append
        for sequence in self.running:
            start = sequence.num_computed_tokens
            if sequence.num_tokens - start == 1:
                add(sequence)
                rows(sequence.row)
                starts(start)
                token_ids(sequence.token_ids[start])
            else:
                prefilling.append(sequence)
        ones = self._ones[: len(plan.rows)]
        plan.counts.extend(ones)
        plan.draws.extend(ones)
        return prefilling

    def _add_chunk(self, plan: StepPlan, sequence: Sequence, budget: int) -> int:
        """As much as the budget allows of a prompt, or of what was forced; returns how many tokens
        that are."""
        start = sequence.num_computed_tokens
        count = min(sequence.num_tokens - start, budget)
        if not count:
            return 0
        if start + count > sequence.num_slots and not self.cache.grow(sequence, start + count):
            assert start >= sequence.request.num_prompt_tokens, "a prompt has room for all of it"
            count = sequence.num_slots - start  # forced tokens displace nobody
        self.in_step.append(sequence)
        plan.rows.append(sequence.row)
        plan.starts.append(start)
        plan.counts.append(count)
        plan.draws.append(start + count == sequence.num_tokens)
        plan.token_ids.fromlist(sequence.token_ids[start : start + count])
        return count

    def _make_room(self, sequence: Sequence, now_ns: int) -> None:
        """Room for one more token, from other sequences if need be, or from itself."""
        while sequence.state is SequenceState.RUNNING:
            if self.cache.grow(sequence, sequence.num_computed_tokens + 1):
                return
            self._preempt(self._victim(), now_ns)

    def _victim(self) -> Sequence:
        """Who yields: the least urgent, and of these the youngest. Not the one that yielded last:
        whoever asks for room has drawn a token since it started, or has just forked, so every
        change of turns is paid for by progress."""
        spared = self._last_preempted
        others = [s for s in self.running if s.request is not spared] or self.running
        return max(others, key=by_priority)

    def _preempt(self, sequence: Sequence, now_ns: int) -> None:
        """Back into the queue without its blocks; its tokens are kept."""
        self._stop_running(sequence, is_clean=sequence.has_drawn)
        sequence.move_to(SequenceState.WAITING)
        sequence.num_computed_tokens = 0
        sequence.queued_ns = now_ns
        sequence.request.num_preemptions += 1
        self.num_preemptions += 1
        self._last_preempted = sequence.request
        self.add(sequence)

    def _admit(self, now_ns: int) -> Sequence | None:
        """Start the first waiting sequence that need not wait for a prefix, if there is room."""
        if not self._free_rows or not self.waiting or self._stuck_at == self.cache.num_wakes:
            return None
        for sequence in islice(self.waiting.candidates(), _MAX_LOOKED_AT):
            if self.cache.is_waiting(sequence):
                continue
            num_hits = self._num_hits(sequence)
            if self.cache.is_waiting(sequence):
                continue
            if not self.cache.admit(sequence, num_hits):
                break
            self.waiting.remove(sequence, starts=True)
            self._start(sequence, now_ns)
            return sequence
        self._stuck_at = self.cache.num_wakes
        return None

    def _start(self, sequence: Sequence, now_ns: int) -> None:
        request = sequence.request
        request.queues.append((sequence.queued_ns, now_ns))
        if not request.prefill_start_ns:
            request.prefill_start_ns = now_ns
            self._pace.note_start(now_ns, len(self.waiting))
        if not request.is_announced:
            request.num_cached_tokens = sequence.num_computed_tokens
            request.prompt_logprobs = []
        sequence.move_to(SequenceState.RUNNING)
        sequence.has_drawn = False
        self._take_row(sequence)

    def _take_row(self, sequence: Sequence) -> None:
        """Its place in the batch, and what the runner must know of it."""
        sequence.row = self._free_rows.pop()
        self.running.append(sequence)
        self.waiting.started(sequence)
        self._announce_row(sequence)
        self.cache.announce_tables(sequence)

    def _announce_row(self, sequence: Sequence) -> None:
        self._row_starts.append(
            RowStart(
                sequence.row,
                sequence.params,
                sequence.sample,
                sequence.token_ids.copy(),
                sequence.request.num_prompt_tokens,
                sequence.request.wants_prompt_logprobs,
            )
        )

    def _stop_running(self, sequence: Sequence, *, is_clean: bool) -> None:
        self.running.remove(sequence)
        self.waiting.stopped(sequence)
        self._free_rows.append(sequence.row)
        self.cache.release(sequence, is_clean=is_clean)
        sequence.row = -1

    def _num_hits(self, sequence: Sequence) -> int:
        """Blocks that need not be computed. Whoever wants the prompt's log-probabilities needs the
        logits of all of them."""
        if sequence.request.wants_prompt_logprobs:
            return 0
        return self.cache.num_cached_blocks(sequence)

    def _num_uncached_tokens(self, sequence: Sequence) -> int:
        """For the order of service: looked up once for each change of what can be had."""
        if sequence.uncached_at != self.cache.num_wakes:
            sequence.uncached_at = self.cache.num_wakes
            num_cached = self._num_hits(sequence) * self.cache.block_size
            sequence.num_uncached_then = sequence.num_tokens - num_cached
        return sequence.num_uncached_then
