"""`Scheduler`: what runs next. Pure and deterministic: no torch, no clock, no randomness.

The loop around it is three lines::

    plan = scheduler.schedule(now_ns)
    result = runner.execute(plan)
    events = scheduler.update(plan, result, now_ns)
"""

from __future__ import annotations

from collections import Counter
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from engine.errors import (
    DEADLINE_UNREACHABLE,
    ENGINE_ERROR,
    INVALID_GRAMMAR,
    INVALID_REQUEST,
)
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
from engine.request_check import fault_of
from engine.running_batch import RunningBatch
from engine.sequence import SequenceState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.config import SchedulerConfig
    from engine.kv_cache import KVCache
    from engine.protocol import TokenLogprobs
    from engine.sequence import Sequence
    from engine.step import StepPlan, StepResult

Addressed = tuple[str, RequestEvent]


class Scheduler:
    """Follows requests from `submit` to their one terminal event. Who runs in a step is decided by
    its `RunningBatch`; here is what becomes of it: tokens, ends, and the events that tell of them.
    """

    def __init__(
        self,
        cache: KVCache,
        config: SchedulerConfig,
        *,
        max_model_len: int,
        vocab_size: int = 1 << 32,
        model: str = "",
    ) -> None:
        """`model` salts the prefix cache: another model's keys and values are other numbers.

        Raises:
            ValueError: the cache cannot hold one sequence of `max_model_len` tokens.
        """
        if not cache.can_ever_hold(max_model_len):
            raise ValueError("the cache must hold one sequence of max_model_len tokens")
        self._batch = RunningBatch(cache, config)
        self._cache = cache
        self._model = model
        self._max_model_len = max_model_len
        self._vocab_size = vocab_size
        self._max_samples = config.max_samples
        self._requests: dict[str, Request] = {}
        self._deadlines: list[tuple[int, int, str]] = []
        self._num_submits = 0
        self._finishes: Counter[str] = Counter()
        self._num_steps = 0
        self._num_prompt_tokens = 0
        self._num_output_tokens = 0

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    @property
    def request_ids(self) -> list[str]:
        """All requests that have not ended, oldest first."""
        return list(self._requests)

    def submit(self, submit: Submit, now_ns: int) -> list[Addressed]:
        """Queue a request, or fail it at once if it can never run, or not before its deadline."""
        self._num_submits += 1
        fault = fault_of(
            submit,
            max_model_len=self._max_model_len,
            vocab_size=self._vocab_size,
            max_samples=self._max_samples,
        )
        if submit.request_id in self._requests:
            fault = Failed(INVALID_REQUEST, "Another request of this id is running.")
        if fault is not None:
            self._finishes["error"] += 1
            return [(submit.request_id, fault)]
        request = Request(submit, self._num_submits, self._max_model_len, self._model)
        if request.deadline_ns and self._batch.expected_start_ns(now_ns) > request.deadline_ns:
            return [(request.request_id, self._unreachable(request))]
        self._requests[request.request_id] = request
        self._note_deadline(request)
        self._batch.add(request.sequences[0])
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
        for request_id in request_ids:
            request = self._requests.get(request_id)
            if request is None:
                continue  # over: also if it comes twice, as one with two samples in a step does
            self._end(request, is_clean=False)
            self._finishes["error"] += 1
            failed.append((request.request_id, Failed(code, message, request.timings())))
        return failed

    def fail_step(self, plan: StepPlan, code: str, message: str) -> list[Addressed]:
        """The step has raised: end all requests that were in it."""
        self._cache.take_back_changes(plan)
        return self.fail([s.request.request_id for s in self._batch.in_step], code, message)

    def schedule(self, now_ns: int) -> StepPlan:
        """Plan the next step and allocate its blocks; without rows if there is nothing to run.
        Every plan with rows is followed by its `update` or `fail_step`."""
        return self._batch.plan(now_ns)

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
            self._batch.in_step[index].request.prompt_logprobs += scores
        for index in result.without_draw:
            plan.draws[index] = 0
        for index in result.late:  # its last token is computed once more
            plan.counts[index] -= 1
        token_ids = iter(result.token_ids)
        num_drawn = 0
        for sequence, count, draws in zip(
            self._batch.in_step, plan.counts, plan.draws, strict=True
        ):
            token_id = next(token_ids) if draws else None
            num_drawn += draws
            if sequence.state is not SequenceState.RUNNING:
                continue
            sequence.num_computed_tokens += count
            if not draws:
                sequence.request.num_prefill_chunks += not sequence.request.is_announced
            elif token_id is None:
                text = "The model gave numbers that are not finite."
                events += self.fail([sequence.request.request_id], ENGINE_ERROR, text)
            else:
                logprobs = result.logprobs[num_drawn - 1] if result.logprobs else None
                self._append(sequence, token_id, logprobs, now_ns, events)
        for index, forced in result.forced.items():
            self._append_forced(self._batch.in_step[index], forced, events)
        if result.refused:
            ids = [self._batch.in_step[index].request.request_id for index in result.refused]
            text = "Answers of this form need more work than is allowed."
            events += self.fail(ids, INVALID_GRAMMAR, text)
        self._batch.in_step = []
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
        head = self._batch.waiting.head
        return Stats(
            num_running=len(self._batch.running),
            num_waiting=len(self._batch.waiting),
            num_blocks=self._cache.num_blocks,
            num_blocks_used=self._cache.num_blocks_used,
            num_steps=self._num_steps,
            num_prompt_tokens=self._num_prompt_tokens,
            num_output_tokens=self._num_output_tokens,
            num_preemptions=self._batch.num_preemptions,
            finishes=dict(self._finishes),
            step_started_ns=step_started_ns,
            head_queued_ns=head.queued_ns if head else 0,
        )

    def check(self) -> None:
        """Assert every invariant of requests, queues, rows and blocks."""
        self._batch.check()
        queued = Counter(map(id, [*self._batch.running, *self._batch.waiting]))
        owned = Counter(id(s) for r in self._requests.values() for s in r.sequences)
        assert queued == owned, "a sequence is in no queue, or in two"
        assert all(r.sequences for r in self._requests.values()), "a request has no samples left"

    def _note_deadline(self, request: Request) -> None:
        """Remember it, and forget those of requests that have ended, when these are the most."""
        if request.deadline_ns:
            heappush(self._deadlines, (request.deadline_ns, request.number, request.request_id))
        if len(self._deadlines) > 2 * len(self._requests) + 64:
            self._deadlines = [entry for entry in self._deadlines if entry[2] in self._requests]
            heapify(self._deadlines)

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

    def _append_forced(
        self, sequence: Sequence, token_ids: list[int], events: list[Addressed]
    ) -> None:
        """Tokens that nobody had to draw: the next step computes them together."""
        if sequence.state is not SequenceState.RUNNING:  # the drawn one was its last
            return
        reason: FinishReason | None = None
        num_sent = 0
        for token_id in token_ids[: sequence.max_len - sequence.num_tokens]:
            sequence.token_ids.append(token_id)
            if token_id in sequence.stop_ids:
                reason = "stop"
                break
            num_sent += 1
        num_new = num_sent + (reason is not None)
        sequence.num_tokens += num_new
        sequence.request.num_output_tokens += num_new
        self._num_output_tokens += num_new
        if num_sent:
            sent = Tokens(tuple(token_ids[:num_sent]), sequence.sample)
            events.append((sequence.request.request_id, sent))
        if reason is None and sequence.num_tokens >= sequence.max_len:
            reason = "length"
        if reason is not None:
            events.append(self._finish(sequence, reason))
        else:
            sequence.has_drawn = False  # until the next draw nobody has looked at what they gave

    def _note_first_draw(self, sequence: Sequence, now_ns: int, events: list[Addressed]) -> None:
        """Its prompt, what a preemption has cost it, or what was forced is computed."""
        sequence.has_drawn = True
        request = sequence.request
        if request.is_announced:
            return
        request.num_prefill_chunks += 1
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
            self._batch.fork(parent, child)
        request.unborn_samples = []

    def _finish(self, sequence: Sequence, reason: FinishReason) -> Addressed:
        """The end of a sample, which is that of its request if no other is left."""
        request = sequence.request
        if request.sequences == [sequence] and not request.unborn_samples:
            return self._finish_all(request, reason)
        ended = SampleFinished(sequence.sample, reason)
        if request.unborn_samples:
            self._batch.rename(sequence, request.unborn_samples.pop(0))
        else:
            self._end_sequence(sequence, is_clean=sequence.has_drawn)
        return request.request_id, ended

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
            self._end_sequence(sequence, is_clean=is_clean and sequence.has_drawn)
        del self._requests[request.request_id]

    def _end_sequence(self, sequence: Sequence, *, is_clean: bool) -> None:
        self._batch.remove(sequence, is_clean=is_clean)
        sequence.request.sequences.remove(sequence)
