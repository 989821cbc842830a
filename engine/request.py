"""`Request`: one request inside the engine, and the table of its states.

::

            schedule               update
    WAITING ────────▶ RUNNING ────────────▶ FINISHED
       ▲                 │                     ▲
       └─── preempt ─────┘                     │
       └───────────────── abort ───────────────┘
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from engine.prefix_index import block_name
from engine.protocol import RequestTimings

if TYPE_CHECKING:
    from engine.prefix_index import BlockName
    from engine.protocol import SamplingParams, Submit


class RequestState(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


TRANSITIONS: dict[RequestState, frozenset[RequestState]] = {
    RequestState.WAITING: frozenset({RequestState.RUNNING, RequestState.FINISHED}),
    RequestState.RUNNING: frozenset({RequestState.WAITING, RequestState.FINISHED}),
    RequestState.FINISHED: frozenset(),
}


class IllegalTransition(Exception):
    """A request was moved to a state that its present one does not lead to."""


class Request:
    """Token ids, progress and memory of one request.

    A step computes keys and values for tokens `num_computed_tokens .. num_tokens - 1`, as far
    as the budget reaches. When all are computed, the next token is sampled and `num_tokens`
    grows by one. Prefill, chunked prefill, decode and recomputation after a preemption are all
    the same chase (the idea is vLLM's).
    """

    __slots__ = (
        "_root",
        "block_names",
        "block_table",
        "first_token_ns",
        "is_announced",
        "last_token_ns",
        "max_tokens",
        "num_cached_tokens",
        "num_computed_tokens",
        "num_decode_steps",
        "num_named_blocks",
        "num_preemptions",
        "num_prefill_chunks",
        "num_prompt_tokens",
        "params",
        "prefill_start_ns",
        "queued_ns",
        "queues",
        "request_id",
        "state",
        "token_ids",
        "waits_for",
    )

    def __init__(self, submit: Submit, max_model_len: int, root: bytes = b"") -> None:
        """`root` begins the names of its blocks: see `prefix_index`."""
        self.request_id: str = submit.request_id
        self.params: SamplingParams = submit.params
        self.token_ids: list[int] = submit.prompt_token_ids
        self.num_prompt_tokens = len(self.token_ids)
        self.max_tokens = min(submit.params.max_tokens, max_model_len - self.num_prompt_tokens)
        self.num_computed_tokens = 0
        self.num_cached_tokens = 0
        self.block_names: list[BlockName] = []
        self.num_named_blocks = 0
        self.waits_for = b""
        self._root = root
        self.block_table: list[int] = []
        self.state = RequestState.WAITING
        self.is_announced = False
        self.queued_ns = submit.arrived_ns
        self.queues: list[tuple[int, int]] = []
        self.prefill_start_ns = 0
        self.first_token_ns = 0
        self.last_token_ns = 0
        self.num_prefill_chunks = 0
        self.num_decode_steps = 0
        self.num_preemptions = 0

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        return len(self.token_ids) - self.num_computed_tokens

    def names_of_full_blocks(self, num_tokens: int, block_size: int) -> list[BlockName]:
        """Names of the blocks that the first `num_tokens` tokens fill."""
        names = self.block_names
        for index in range(len(names), num_tokens // block_size):
            parent = names[-1].digest if names else self._root
            block = self.token_ids[index * block_size : (index + 1) * block_size]
            names.append(block_name(parent, block))
        return names[: num_tokens // block_size]

    def move_to(self, state: RequestState) -> None:
        """Change the state; IllegalTransition, and no change, if the table has no such way."""
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.request_id}: {self.state.name} to {state.name}")
        self.state = state

    def timings(self) -> RequestTimings:
        return RequestTimings(
            queues=tuple(self.queues),
            prefill_start_ns=self.prefill_start_ns,
            first_token_ns=self.first_token_ns,
            last_token_ns=self.last_token_ns,
            num_prefill_chunks=self.num_prefill_chunks,
            num_decode_steps=self.num_decode_steps,
            num_preemptions=self.num_preemptions,
        )
