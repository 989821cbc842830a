"""`Scheduler`: what runs next. Pure and deterministic: no torch, no clock, no randomness.

The loop around it is three lines::

    plan = scheduler.schedule(now_ns)
    result = runner.execute(plan)
    events = scheduler.update(plan, result, now_ns)
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING

from engine.errors import CONTEXT_LENGTH_EXCEEDED, ENGINE_ERROR
from engine.prefix_index import salted_root
from engine.protocol import (
    AbortReason,
    Failed,
    Finished,
    FinishReason,
    RequestEvent,
    Started,
    Stats,
    Submit,
    Tokens,
)
from engine.request import Request, RequestState
from engine.step import ScheduledSequence, StepPlan, StepResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.kv_cache import BlockPool

_MAX_LOOKED_AT = 32
"""Waiting requests that a step looks at: the names of a long queue's prompts would take long."""

Addressed = tuple[str, RequestEvent]


class Scheduler:
    """Continuous batching under a token budget, over a pool of KV blocks.

    A step takes all running sequences first, one token for each that decodes, then prefill in
    chunks from what is left of the budget: a long prompt never stalls a running stream. When
    the pool runs dry the youngest request yields its blocks and is computed again later.
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_batch_tokens: int,
        max_running: int,
        max_model_len: int,
        model: str = "",
    ) -> None:
        """`model` salts the prefix cache: another model's keys and values are other numbers."""
        if pool.num_blocks * pool.block_size < max_model_len:
            raise ValueError("the pool must hold one sequence of max_model_len tokens")
        self._pool = pool
        self._model = model
        self._max_batch_tokens = max_batch_tokens
        self._max_running = min(max_running, max_batch_tokens)
        self._max_model_len = max_model_len
        self._requests: dict[str, Request] = {}
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._computing: dict[bytes, str] = {}
        self._dirty_blocks: list[int] = []
        self._finishes: Counter[str] = Counter()
        self._num_steps = 0
        self._num_prompt_tokens = 0
        self._num_output_tokens = 0
        self._num_preemptions = 0

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    def submit(self, submit: Submit) -> list[Addressed]:
        """Queue a request, or fail it at once if it can never run."""
        root = salted_root(self._model, submit.tenant)
        request = Request(submit, self._max_model_len, root)
        assert request.request_id not in self._requests, "request ids are the service's, unique"
        if not 0 < request.num_prompt_tokens < self._max_model_len:
            self._finishes["error"] += 1
            message = f"The prompt must have 1 to {self._max_model_len - 1} tokens."
            return [(request.request_id, Failed(CONTEXT_LENGTH_EXCEEDED, message))]
        self._requests[request.request_id] = request
        self._waiting.append(request)
        return []

    def abort(self, request_id: str, reason: AbortReason) -> list[Addressed]:
        """End a request between two steps and free its blocks; nothing if it is over."""
        request = self._requests.get(request_id)
        if request is None:
            return []
        return [self._finish(request, reason)]

    def fail(self, request_ids: Iterable[str], code: str, message: str) -> list[Addressed]:
        """End requests without an answer. Whatever failed may have left its numbers in their
        blocks: these are zeroed before anybody reuses them."""
        failed: list[Addressed] = []
        for request in [self._requests[i] for i in request_ids if i in self._requests]:
            self._mark_dirty(request)
            self._release(request, "error")
            failed.append((request.request_id, Failed(code, message, request.timings())))
        return failed

    @property
    def request_ids(self) -> list[str]:
        """All requests that have not ended, oldest first."""
        return list(self._requests)

    def schedule(self, now_ns: int) -> StepPlan:
        """Plan the next step and allocate its blocks; empty if there is nothing to run."""
        budget = self._max_batch_tokens
        scheduled: list[tuple[Request, int]] = []
        decoding = [r for r in self._running if r.num_uncomputed_tokens == 1]
        prefilling = [r for r in self._running if r.num_uncomputed_tokens > 1]
        for request in decoding + prefilling:
            count = min(request.num_uncomputed_tokens, budget)
            if count and request.state is RequestState.RUNNING:
                if self._make_room(request, count, now_ns):
                    scheduled.append((request, count))
                    budget -= count
                else:
                    self._preempt(request, now_ns)
        # A request may have been scheduled before a later one took its blocks.
        scheduled = [(r, count) for r, count in scheduled if r.state is RequestState.RUNNING]
        while budget and (admitted := self._admit(budget, now_ns)):
            scheduled.append(admitted)
            budget -= admitted[1]
        sequences = tuple(self._sequence(r, count) for r, count in scheduled)
        return StepPlan(sequences, tuple(self._dirty_blocks))

    def update(self, plan: StepPlan, result: StepResult, now_ns: int) -> list[Addressed]:
        """Take in what the step gave. Requests aborted meanwhile are skipped.

        ┌─────────────────────────────────────────────────────────────────────────────┐
        │ The only per-token Python of the engine. Whatever must happen for each token │
        │ belongs into this loop, and nothing that can happen elsewhere does.          │
        └─────────────────────────────────────────────────────────────────────────────┘
        """
        self._num_steps += 1
        self._dirty_blocks = self._dirty_blocks[len(plan.dirty_blocks) :]
        events: list[Addressed] = []
        sampled = iter(result.sampled)
        for sequence in plan.sequences:
            token_id = next(sampled) if sequence.samples else None
            request = self._requests.get(sequence.request_id)
            if request is None:
                continue
            request.num_computed_tokens = sequence.end_position
            if sequence.start_position < request.num_prompt_tokens:
                request.num_prefill_chunks += 1
            else:
                request.num_decode_steps += 1
            if not sequence.samples:
                continue
            if token_id is None:
                text = "The model gave numbers that are not finite."
                events += self.fail([request.request_id], ENGINE_ERROR, text)
            else:
                self._name_blocks(request)
                self._append(request, token_id, now_ns, events)
        return events

    def stats(self, step_started_ns: int) -> Stats:
        return Stats(
            num_running=len(self._running),
            num_waiting=len(self._waiting),
            num_blocks=self._pool.num_blocks,
            num_blocks_used=self._pool.num_used,
            num_steps=self._num_steps,
            num_prompt_tokens=self._num_prompt_tokens,
            num_output_tokens=self._num_output_tokens,
            num_preemptions=self._num_preemptions,
            finishes=dict(self._finishes),
            step_started_ns=step_started_ns,
            head_queued_ns=self._waiting[0].queued_ns if self._waiting else 0,
        )

    def check(self) -> None:
        """Assert every invariant of requests, queues and blocks."""
        self._pool.check()
        held = Counter(block for r in self._requests.values() for block in r.block_table)
        assert len(held) == self._pool.num_used, "a held block is in no request, or the other way"
        assert all(self._pool.num_holders(block) == n for block, n in held.items())
        assert set(self._computing.values()) <= {r.request_id for r in self._running}
        assert all(r.state is RequestState.RUNNING for r in self._running)
        assert all(r.state is RequestState.WAITING and not r.block_table for r in self._waiting)
        queued = {r.request_id for r in [*self._running, *self._waiting]}
        assert queued == set(self._requests), "a request is in no queue, or in two"
        assert len(self._running) + len(self._waiting) == len(self._requests)
        for request in self._running:
            room = len(request.block_table) * self._pool.block_size
            assert request.num_computed_tokens <= min(room, request.num_tokens)

    def _make_room(self, request: Request, count: int, now_ns: int) -> bool:
        """Blocks for `count` more tokens, from younger requests if need be."""
        end = request.num_computed_tokens + count
        while True:
            missing = self._pool.num_blocks_for(end) - len(request.block_table)
            if missing <= 0:
                return True
            blocks = self._pool.allocate(missing)
            if blocks is not None:
                request.block_table += blocks
                return True
            if self._running[-1] is request:
                return False
            self._preempt(self._running[-1], now_ns)

    def _preempt(self, request: Request, now_ns: int) -> None:
        """Back to the head of the queue without its blocks; its tokens are kept."""
        request.move_to(RequestState.WAITING)
        self._running.remove(request)
        self._let_go(request)
        request.num_computed_tokens = 0
        request.num_preemptions += 1
        request.queued_ns = now_ns
        self._num_preemptions += 1
        self._waiting.appendleft(request)

    def _admit(self, budget: int, now_ns: int) -> tuple[Request, int] | None:
        """Start the oldest waiting request that need not wait for a prefix, if there is room."""
        if len(self._running) >= self._max_running:
            return None
        for request in islice(self._waiting, _MAX_LOOKED_AT):
            if request.waits_for not in self._computing:
                hits = self._match(request)
                if request.waits_for not in self._computing:
                    break
        else:
            return None
        self._pool.share(hits)
        needed = self._pool.num_blocks_for(request.num_tokens + 1)
        blocks = self._pool.allocate(needed - len(hits))
        if blocks is None:
            self._pool.free(hits)
            return None
        self._start(request, hits, blocks, now_ns)
        return request, min(request.num_uncomputed_tokens, budget)

    def _match(self, request: Request) -> list[int]:
        """Blocks of its longest known prefix; notes what it waits for if another request computes
        the next one at this moment. The last token is always computed: its logits are wanted."""
        names = request.names_of_full_blocks(request.num_tokens - 1, self._pool.block_size)
        hits = self._pool.match(names)
        request.waits_for = names[len(hits)].digest if len(hits) < len(names) else b""
        return hits

    def _start(self, request: Request, hits: list[int], blocks: list[int], now_ns: int) -> None:
        self._waiting.remove(request)
        request.move_to(RequestState.RUNNING)
        self._running.append(request)
        request.block_table = hits + blocks
        request.num_computed_tokens = len(hits) * self._pool.block_size
        request.num_named_blocks = len(hits)
        if not request.is_announced:
            request.num_cached_tokens = request.num_computed_tokens
        for name in request.block_names[len(hits) :]:
            self._computing.setdefault(name.digest, request.request_id)
        request.queues.append((request.queued_ns, now_ns))
        request.prefill_start_ns = request.prefill_start_ns or now_ns

    def _name_blocks(self, request: Request) -> None:
        """Name the blocks that have become full, so that others find them. Not before a token has
        been drawn: that its logits were finite says that what lies in the blocks is."""
        num_full = request.num_computed_tokens // self._pool.block_size
        if request.num_named_blocks < num_full:
            names = request.names_of_full_blocks(request.num_computed_tokens, self._pool.block_size)
            for index in range(request.num_named_blocks, num_full):
                self._pool.name(request.block_table[index], names[index])
                self._computing.pop(names[index].digest, None)
            request.num_named_blocks = num_full

    def _mark_dirty(self, request: Request) -> None:
        """Its own blocks are neither found nor reused before they are zeroed. Shared ones were
        named, so they are clean."""
        for block in request.block_table:
            if self._pool.num_holders(block) == 1:
                self._pool.forget(block)
                self._dirty_blocks.append(block)

    def _let_go(self, request: Request) -> None:
        """Give its blocks back; nobody waits for it any more. What it computed before it drew a
        token nobody has looked at, so it may be no numbers."""
        if not request.is_announced:
            self._mark_dirty(request)
        for name in request.block_names:
            if self._computing.get(name.digest) == request.request_id:
                del self._computing[name.digest]
        self._pool.free(request.block_table)
        request.block_table = []

    def _sequence(self, request: Request, count: int) -> ScheduledSequence:
        start = request.num_computed_tokens
        params = request.params
        return ScheduledSequence(
            request_id=request.request_id,
            token_ids=request.token_ids[start : start + count],
            start_position=start,
            block_table=request.block_table.copy(),
            samples=start + count == request.num_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            seed=params.seed,
        )

    def _append(
        self, request: Request, token_id: int, now_ns: int, events: list[Addressed]
    ) -> None:
        """One new token: announce it, and end the request if it was the last."""
        request.token_ids.append(token_id)
        request.first_token_ns = request.first_token_ns or now_ns
        request.last_token_ns = now_ns
        self._num_output_tokens += 1
        if not request.is_announced:
            request.is_announced = True
            self._num_prompt_tokens += request.num_prompt_tokens
            events.append(
                (request.request_id, Started(request.num_prompt_tokens, request.num_cached_tokens))
            )
        if token_id in request.params.stop_token_ids:
            events.append(self._finish(request, "stop"))
            return
        events.append((request.request_id, Tokens((token_id,))))
        if request.num_output_tokens >= request.max_tokens:
            events.append(self._finish(request, "length"))

    def _finish(self, request: Request, reason: FinishReason) -> Addressed:
        self._release(request, reason)
        return request.request_id, Finished(
            reason=reason,
            num_prompt_tokens=request.num_prompt_tokens,
            num_cached_tokens=request.num_cached_tokens,
            num_output_tokens=request.num_output_tokens,
            timings=request.timings(),
        )

    def _release(self, request: Request, reason: str) -> None:
        """Out of every queue, blocks back to the pool, counted."""
        if request.state is RequestState.RUNNING:
            self._running.remove(request)
        else:
            self._waiting.remove(request)
        request.move_to(RequestState.FINISHED)
        self._let_go(request)
        del self._requests[request.request_id]
        self._finishes[reason] += 1
