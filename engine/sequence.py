"""`Sequence`: one sample of a request inside the engine, and the table of its states.

::

            schedule               update
    WAITING ────────▶ RUNNING ────────────▶ FINISHED
       ▲                 │                     ▲
       └─── preempt ─────┘                     │
       └───────────────── abort ───────────────┘

A sample that forks from the first one is RUNNING from its beginning, or WAITING if it finds no
place.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from engine.prefix_index import block_name

if TYPE_CHECKING:
    from engine.prefix_index import BlockName
    from engine.protocol import SamplingParams
    from engine.request import Request


class SequenceState(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


TRANSITIONS: dict[SequenceState, frozenset[SequenceState]] = {
    SequenceState.WAITING: frozenset({SequenceState.RUNNING, SequenceState.FINISHED}),
    SequenceState.RUNNING: frozenset({SequenceState.WAITING, SequenceState.FINISHED}),
    SequenceState.FINISHED: frozenset(),
}


class IllegalTransition(Exception):
    """A sequence was moved to a state that its present one does not lead to."""


class Sequence:
    """Token ids, progress and memory of one sample.

    A step computes keys and values for tokens `num_computed_tokens .. num_tokens - 1`, as far
    as the budget reaches. When all are computed, the next token is drawn and `num_tokens` grows
    by one. Prefill, chunked prefill, decode and recomputation after a preemption are all the same
    chase (the idea is vLLM's).

    `tables` holds its blocks, a list for each group of layers; `num_slots` is how far it can write
    without asking the cache for more, and from `next_name_at` computed tokens on another block can
    be named. `row` is its place in the batch, -1 when it does not run.
    """

    __slots__ = (
        "_root",
        "block_names",
        "has_drawn",
        "max_len",
        "next_name_at",
        "num_computed_tokens",
        "num_freed_blocks",
        "num_named_blocks",
        "num_reserved_blocks",
        "num_slots",
        "num_tokens",
        "num_uncached_then",
        "number",
        "params",
        "queued_ns",
        "request",
        "row",
        "sample",
        "state",
        "stop_ids",
        "tables",
        "token_ids",
        "uncached_at",
        "waits_for",
    )

    def __init__(
        self,
        request: Request,
        sample: int,
        number: int,
        token_ids: list[int],
        params: SamplingParams,
        max_len: int,
        root: bytes,
    ) -> None:
        """It ends when it has `max_len` tokens. `number` counts arrivals; `root` begins the names
        of its blocks: see `prefix_index`."""
        self.request = request
        self.sample = sample
        self.number = number
        self.params = params
        self.stop_ids = frozenset(params.stop_token_ids)
        self.token_ids = token_ids
        self.num_tokens = len(token_ids)
        self.num_computed_tokens = 0
        self.max_len = max_len
        self.state = SequenceState.WAITING
        self.has_drawn = False
        self.row = -1
        self.queued_ns = 0
        self.waits_for = b""
        self.tables: list[list[int]] = []
        self.num_slots = 0
        self.num_freed_blocks: list[int] = []
        self.num_reserved_blocks: list[int] = []
        self.block_names: list[BlockName] = []
        self.num_named_blocks = 0
        self.next_name_at = 0
        self.uncached_at = -1
        self.num_uncached_then = 0
        self._root = root

    def fork(self, sample: int) -> Sequence:
        """Another sample of the same prompt, without blocks and before its first token."""
        prompt = self.token_ids[: self.request.num_prompt_tokens]
        other = Sequence(
            self.request, sample, self.number, prompt, self.params, self.max_len, self._root
        )
        other.block_names = self.block_names.copy()
        return other

    def names_of_full_blocks(self, num_tokens: int, block_size: int) -> list[BlockName]:
        """Names of the blocks that the first `num_tokens` tokens fill."""
        names = self.block_names
        for index in range(len(names), num_tokens // block_size):
            parent = names[-1].digest if names else self._root
            block = self.token_ids[index * block_size : (index + 1) * block_size]
            names.append(block_name(parent, block))
        return names[: num_tokens // block_size]

    def move_to(self, state: SequenceState) -> None:
        """Change the state; IllegalTransition, and no change, if the table has no such way."""
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(
                f"{self.request.request_id}/{self.sample}: {self.state.name} to {state.name}"
            )
        self.state = state
