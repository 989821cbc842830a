"""`Scheduler`: what runs next. Pure and deterministic: no torch, no clock, no randomness.

The loop around it is three lines::

    plan = scheduler.schedule(now_ns)
    result = runner.execute(plan)
    events = scheduler.update(plan, result, now_ns)
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from engine.errors import CONTEXT_LENGTH_EXCEEDED, DEADLINE_UNREACHABLE, ENGINE_ERROR
from engine.pace import Pace
from engine.policies.select import waiting_queue
from engine.policies.sorted_queue import by_priority
from engine.protocol import (
    AbortReason,
    Failed,
    Finished,
    FinishReason,
    PromptLogprobs,
    RequestEvent,
    SampleFinished,
    Started,
    Stats,
    Submit,
    Tokens,
)
from engine.request import Request
from engine.sequence import Sequence, SequenceState
from engine.step import RowStart, StepPlan, StepResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.config import SchedulerConfig
    from engine.kv_cache import KVCache
    from engine.protocol import TokenLogprobs

_MAX_LOOKED_AT = 32
"""Waiting sequences that a step looks at: the names of a long queue's prompts would take long."""

Addressed = tuple[str, RequestEvent]


class Scheduler:
    """Continuous batching under a token budget, over a paged cache.

    A step takes all running sequences first, one token for each that decodes, then prefill in
    chunks from what is left of the budget: a long prompt never stalls a running stream. When
    the pool runs dry the least urgent, youngest sequence yields its blocks and is computed again
    later; not the one that yielded last, while another can.
    """

    def __init__(
        self, cache: KVCache, config: SchedulerConfig, *, max_model_len: int, model: str = ""
    ) -> None:
        """`model` salts the prefix cache: another model's keys and values are other numbers.

        Raises:
            ValueError: the cache cannot hold one sequence of `max_model_len` tokens.
        """
        if not cache.can_ever_hold(max_model_len):
            raise ValueError("the cache must hold one sequence of max_model_len tokens")
        self._cache = cache
        self._model = model
        self._max_batch_tokens = config.max_batch_tokens
        self._max_model_len = max_model_len
        self._requests: dict[str, Request] = {}
        self._waiting = waiting_queue(config.policy, self._num_uncached_tokens)
        self._running: list[Sequence] = []
        self._free_rows = list(range(config.num_rows))[::-1]
        self._row_starts: list[RowStart] = []
        self._in_step: list[Sequence] = []
        self._last_preempted: Request | None = None
        self._stuck_at = -1
        self._pace = Pace()
        self._deadlines: list[tuple[int, int, str]] = []
        self._num_submits = 0
        self._finishes: Counter[str] = Counter()
        self._num_steps = 0
        self._num_prompt_tokens = 0
        self._num_output_tokens = 0
        self._num_preemptions = 0

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    @property
    def request_ids(self) -> list[str]:
        """All requests that have not ended, oldest first."""
        return list(self._requests)

    def submit(self, submit: Submit, now_ns: int) -> list[Addressed]:
        """Queue a request, or fail it at once if it can never run, or not before its deadline."""
        assert submit.request_id not in self._requests, "request ids are the service's, unique"
        self._num_submits += 1
        request = Request(submit, self._num_submits, self._max_model_len, self._model)
        if not 0 < request.num_prompt_tokens < self._max_model_len:
            self._finishes["error"] += 1
            message = f"The prompt must have 1 to {self._max_model_len - 1} tokens."
            return [(request.request_id, Failed(CONTEXT_LENGTH_EXCEEDED, message))]
        start_ns = self._pace.expected_start_ns(len(self._waiting), now_ns)
        if request.deadline_ns and start_ns > request.deadline_ns:
            return [(request.request_id, self._unreachable(request))]
        self._requests[request.request_id] = request
        if request.deadline_ns:
            heappush(self._deadlines, (request.deadline_ns, request.number, request.request_id))
        self._waiting.add(request.sequences[0])
        self._stuck_at = -1
        return []

    def abort(
        self, request_id: str, reason: AbortReason, sample: int | None = None
    ) -> list[Addressed]:
        """End a request, or one sample of it, between two steps and free its blocks; nothing if
        it is over."""
        request = self._requests.get(request_id)
        if request is None:
            return []
        if sample is None:
            return [self._finish_all(request, reason)]
        for sequence in request.sequences:
            if sequence.sample == sample:
                return [self._finish(sequence, reason)]
        if sample in request.unborn_samples:
            request.unborn_samples.remove(sample)
            return [(request_id, SampleFinished(sample, reason))]
        return []

    def fail(self, request_ids: Iterable[str], code: str, message: str) -> list[Addressed]:
        """End requests without an answer. Whatever failed may have left its numbers in their
        blocks: these are zeroed before anybody reuses them."""
        failed: list[Addressed] = []
        for request in [self._requests[i] for i in request_ids if i in self._requests]:
            self._end(request, is_clean=False)
            self._finishes["error"] += 1
            failed.append((request.request_id, Failed(code, message, request.timings())))
        return failed

    def fail_step(self, plan: StepPlan, code: str, message: str) -> list[Addressed]:
        """The step has raised: end all requests that were in it."""
        self._cache.keep_dirty(plan.dirty_blocks)
        return self.fail([s.request.request_id for s in self._in_step], code, message)

    def schedule(self, now_ns: int) -> StepPlan:
        """Plan the next step and allocate its blocks; without rows if there is nothing to run.
        Every plan with rows is followed by its `update` or `fail_step`."""
        for sequence in [s for s in self._running if s.num_computed_tokens >= s.num_slots]:
            self._make_room(sequence, now_ns)
        plan = StepPlan([], [], [], [], [])
        prefilling = self._add_decodes(plan)
        budget = self._max_batch_tokens - len(plan.rows)
        for sequence in prefilling:
            budget -= self._add_chunk(plan, sequence, budget)
        while budget and (admitted := self._admit(now_ns)) is not None:
            budget -= self._add_chunk(plan, admitted, budget)
        if plan.rows:
            plan.row_starts.extend(self._row_starts)
            self._row_starts.clear()
            self._cache.drain_changes(plan)
        return plan

    def update(self, plan: StepPlan, result: StepResult, now_ns: int) -> list[Addressed]:
        """Take in what the step gave. Sequences that ended meanwhile are skipped.

        ┌─────────────────────────────────────────────────────────────────────────────┐
        │ The only per-token Python of the engine. Whatever must happen for each token │
        │ belongs into this loop, and nothing that can happen elsewhere does.          │
        └─────────────────────────────────────────────────────────────────────────────┘
        """
        self._num_steps += 1
        events: list[Addressed] = []
        for index, scores in result.prompt_logprobs.items():
            self._in_step[index].request.prompt_logprobs += scores
        token_ids = iter(result.token_ids)
        num_drawn = 0
        for sequence, count, draws in zip(self._in_step, plan.counts, plan.draws, strict=True):
            token_id = next(token_ids) if draws else None
            num_drawn += draws
            if sequence.state is not SequenceState.RUNNING:
                continue
            sequence.num_computed_tokens += count
            if not draws:
                sequence.request.num_prefill_chunks += 1
            elif token_id is None:
                text = "The model gave numbers that are not finite."
                events += self.fail([sequence.request.request_id], ENGINE_ERROR, text)
            else:
                logprobs = result.logprobs[num_drawn - 1] if result.logprobs else None
                self._append(sequence, token_id, logprobs, now_ns, events)
        self._in_step = []
        return events

    def expire(self, now_ns: int) -> list[Addressed]:
        """Fail the requests whose deadline has passed before they started."""
        failed: list[Addressed] = []
        while self._deadlines and self._deadlines[0][0] < now_ns:
            _, number, request_id = heappop(self._deadlines)
            request = self._requests.get(request_id)
            if request and request.number == number and not request.prefill_start_ns:
                self._end(request, is_clean=True)
                failed.append((request_id, self._unreachable(request)))
        return failed

    def stats(self, step_started_ns: int) -> Stats:
        head = self._waiting.head
        return Stats(
            num_running=len(self._running),
            num_waiting=len(self._waiting),
            num_blocks=self._cache.num_blocks,
            num_blocks_used=self._cache.num_blocks_used,
            num_steps=self._num_steps,
            num_prompt_tokens=self._num_prompt_tokens,
            num_output_tokens=self._num_output_tokens,
            num_preemptions=self._num_preemptions,
            finishes=dict(self._finishes),
            step_started_ns=step_started_ns,
            head_queued_ns=head.queued_ns if head else 0,
        )

    def check(self) -> None:
        """Assert every invariant of requests, queues, rows and blocks."""
        self._cache.check(self._running)
        waiting = list(self._waiting)
        assert all(s.state is SequenceState.RUNNING for s in self._running)
        assert all(s.state is SequenceState.WAITING and not s.tables for s in waiting)
        rows = [*self._free_rows, *(s.row for s in self._running)]
        assert sorted(rows) == list(range(len(rows))), "a row is lost, or has two owners"
        queued = Counter(map(id, [*self._running, *waiting]))
        owned = Counter(id(s) for r in self._requests.values() for s in r.sequences)
        assert queued == owned, "a sequence is in no queue, or in two"
        assert all(r.sequences for r in self._requests.values()), (
            "a request goes on without samples"
        )
        for sequence in self._running:
            assert sequence.num_tokens == len(sequence.token_ids) <= sequence.max_len
            assert sequence.num_computed_tokens < sequence.num_tokens

    def _add_decodes(self, plan: StepPlan) -> list[Sequence]:
        """Every sequence that has one token to compute; returns the others."""
        self._in_step = []
        prefilling: list[Sequence] = []
        add, rows, starts = self._in_step.append, plan.rows.append, plan.starts.append
        token_ids = plan.token_ids.append
        for sequence in self._running:
            start = sequence.num_computed_tokens
            if sequence.num_tokens - start == 1:
                add(sequence)
                rows(sequence.row)
                starts(start)
                token_ids(sequence.token_ids[start])
            else:
                prefilling.append(sequence)
        plan.counts.extend([1] * len(plan.rows))
        plan.draws.extend([True] * len(plan.rows))
        return prefilling

    def _add_chunk(self, plan: StepPlan, sequence: Sequence, budget: int) -> int:
        """As much of a prompt as the budget allows; returns how many tokens that are."""
        start = sequence.num_computed_tokens
        count = min(sequence.num_tokens - start, budget)
        if not count:
            return 0
        if start + count > sequence.num_slots:
            has_room = self._cache.grow(sequence, start + count)
            assert has_room, "admission has given a prompt room for all of its tokens"
        self._in_step.append(sequence)
        plan.rows.append(sequence.row)
        plan.starts.append(start)
        plan.counts.append(count)
        plan.draws.append(start + count == sequence.num_tokens)
        plan.token_ids.extend(sequence.token_ids[start : start + count])
        return count

    def _make_room(self, sequence: Sequence, now_ns: int) -> None:
        """Room for one more token, from other sequences if need be, or from itself."""
        while sequence.state is SequenceState.RUNNING:
            if self._cache.grow(sequence, sequence.num_computed_tokens + 1):
                return
            self._preempt(self._victim(), now_ns)

    def _victim(self) -> Sequence:
        """Who yields: the least urgent, and of these the youngest. Not the one that yielded last:
        whoever asks for room has drawn a token since it started, so every change of turns is paid
        for by progress."""
        spared = self._last_preempted
        others = [s for s in self._running if s.request is not spared] or self._running
        return max(others, key=by_priority)

    def _preempt(self, sequence: Sequence, now_ns: int) -> None:
        """Back into the queue without its blocks; its tokens are kept."""
        self._stop_running(sequence, is_clean=sequence.has_drawn)
        sequence.move_to(SequenceState.WAITING)
        sequence.num_computed_tokens = 0
        sequence.queued_ns = now_ns
        sequence.request.num_preemptions += 1
        self._num_preemptions += 1
        self._last_preempted = sequence.request
        self._waiting.add(sequence)

    def _admit(self, now_ns: int) -> Sequence | None:
        """Start the first waiting sequence that need not wait for a prefix, if there is room."""
        if not self._free_rows or not self._waiting or self._stuck_at == self._cache.num_wakes:
            return None
        for sequence in islice(self._waiting.candidates(self._running), _MAX_LOOKED_AT):
            if self._cache.is_waiting(sequence):
                continue
            num_hits = self._num_hits(sequence)
            if self._cache.is_waiting(sequence):
                continue
            if not self._cache.admit(sequence, num_hits):
                break
            self._waiting.remove(sequence, starts=True)
            self._start(sequence, now_ns)
            return sequence
        self._stuck_at = self._cache.num_wakes
        return None

    def _start(self, sequence: Sequence, now_ns: int) -> None:
        request = sequence.request
        request.queues.append((sequence.queued_ns, now_ns))
        if not request.prefill_start_ns:
            request.prefill_start_ns = now_ns
            self._pace.note_start(now_ns, len(self._waiting))
        if not request.is_announced:
            request.num_cached_tokens = sequence.num_computed_tokens
            request.prompt_logprobs = []
        sequence.move_to(SequenceState.RUNNING)
        sequence.has_drawn = False
        self._take_row(sequence)

    def _take_row(self, sequence: Sequence) -> None:
        """Its place in the batch, and what the runner must know of it."""
        sequence.row = self._free_rows.pop()
        self._running.append(sequence)
        self._announce_row(sequence)
        self._cache.announce_tables(sequence)

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

    def _num_hits(self, sequence: Sequence) -> int:
        """Blocks that need not be computed. Whoever wants the prompt's log-probabilities needs the
        logits of all of them."""
        if sequence.request.wants_prompt_logprobs:
            return 0
        return self._cache.num_cached_blocks(sequence)

    def _num_uncached_tokens(self, sequence: Sequence) -> int:
        return sequence.num_tokens - self._num_hits(sequence) * self._cache.block_size

    def _append(
        self,
        sequence: Sequence,
        token_id: int,
        logprobs: TokenLogprobs | None,
        now_ns: int,
        events: list[Addressed],
    ) -> None:
        """One new token: announce it, and end the sequence if it was the last."""
        request = sequence.request
        if sequence.num_computed_tokens >= sequence.next_name_at:
            self._cache.name_full_blocks(sequence)
        if not sequence.has_drawn:
            self._note_first_draw(sequence, now_ns, events)
        else:
            request.num_decode_steps += 1
        request.last_token_ns = now_ns
        request.num_output_tokens += 1
        self._num_output_tokens += 1
        sequence.token_ids.append(token_id)
        sequence.num_tokens += 1
        if token_id in sequence.stop_ids:
            events.append(self._finish(sequence, "stop"))
            return
        given = () if logprobs is None else (logprobs,)
        events.append((request.request_id, Tokens((token_id,), sequence.sample, given)))
        if sequence.num_tokens >= sequence.max_len:
            events.append(self._finish(sequence, "length"))

    def _note_first_draw(self, sequence: Sequence, now_ns: int, events: list[Addressed]) -> None:
        """Its prompt, or what a preemption has cost it, is computed."""
        sequence.has_drawn = True
        request = sequence.request
        request.num_prefill_chunks += 1
        if request.is_announced:
            return
        request.first_token_ns = now_ns
        if request.wants_prompt_logprobs:
            told = PromptLogprobs((None, *request.prompt_logprobs))
            request.prompt_logprobs = []
        else:
            told = None
        request.is_announced = True
        self._num_prompt_tokens += request.num_prompt_tokens
        started = Started(request.num_prompt_tokens, request.num_cached_tokens)
        events.append((request.request_id, started))
        if told is not None:
            events.append((request.request_id, told))
        self._fork_samples(sequence, now_ns)

    def _fork_samples(self, parent: Sequence, now_ns: int) -> None:
        """The other samples begin with what the first has computed, or wait if there is no place."""
        request = parent.request
        for sample in request.unborn_samples:
            child = parent.fork(sample)
            child.queued_ns = now_ns
            request.sequences.append(child)
            if self._free_rows and self._cache.fork(parent, child):
                child.move_to(SequenceState.RUNNING)
                self._take_row(child)
            else:
                self._waiting.add(child)
        request.unborn_samples = []

    def _finish(self, sequence: Sequence, reason: FinishReason) -> Addressed:
        """The end of a sample, which is that of its request if no other is left."""
        request = sequence.request
        if request.sequences == [sequence] and not request.unborn_samples:
            return self._finish_all(request, reason)
        ended = SampleFinished(sequence.sample, reason)
        if request.unborn_samples:
            self._rename(sequence, request.unborn_samples.pop(0))
        else:
            self._release(sequence, is_clean=sequence.has_drawn)
        return request.request_id, ended

    def _rename(self, sequence: Sequence, sample: int) -> None:
        """The sample that computes the prompt has ended early: another one takes its place."""
        if sequence.state is SequenceState.WAITING:
            self._waiting.remove(sequence, starts=False)
            sequence.sample = sample
            self._waiting.add(sequence)
        else:
            sequence.sample = sample
            self._announce_row(sequence)

    def _finish_all(self, request: Request, reason: FinishReason) -> Addressed:
        self._end(request, is_clean=True)
        self._finishes[reason] += 1
        return request.request_id, Finished(
            reason=reason,
            num_prompt_tokens=request.num_prompt_tokens,
            num_cached_tokens=request.num_cached_tokens,
            num_output_tokens=request.num_output_tokens,
            timings=request.timings(),
        )

    def _unreachable(self, request: Request) -> Failed:
        self._finishes["error"] += 1
        text = "The request cannot start before its deadline: too many others are waiting."
        return Failed(DEADLINE_UNREACHABLE, text, request.timings())

    def _end(self, request: Request, *, is_clean: bool) -> None:
        """All its sequences out of every queue, all its blocks back."""
        for sequence in request.sequences.copy():
            self._release(sequence, is_clean=is_clean and sequence.has_drawn)
        del self._requests[request.request_id]

    def _release(self, sequence: Sequence, *, is_clean: bool) -> None:
        if sequence.state is SequenceState.RUNNING:
            self._stop_running(sequence, is_clean=is_clean)
        else:
            self._waiting.remove(sequence, starts=False)
        sequence.move_to(SequenceState.FINISHED)
        sequence.request.sequences.remove(sequence)

    def _stop_running(self, sequence: Sequence, *, is_clean: bool) -> None:
        self._running.remove(sequence)
        self._free_rows.append(sequence.row)
        self._cache.release(sequence, is_clean=is_clean)
        sequence.row = -1
