"""A runner without a model: its next token is a hash of what the cache really holds.

A wrong block, a stale slot, a token computed twice or one of another request changes the text,
so comparing with `expected_tokens` proves the scheduler's bookkeeping.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from engine.step import StepResult

if TYPE_CHECKING:
    from engine.step import StepPlan

VOCABULARY = 7


def next_token(history: list[tuple[int, int]]) -> int:
    """A token id from the (token, position) pairs of the whole sequence."""
    return zlib.crc32(repr(history).encode()) % VOCABULARY


def expected_tokens(prompt: list[int], count: int) -> list[int]:
    """What a request must give, alone or in any crowd."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token([(token, position) for position, token in enumerate(tokens)]))
    return tokens[len(prompt) :]


class HashRunner:
    """Writes (token, position) into slots and reads histories back through block tables."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.slots: list[tuple[int, int] | None] = [None] * (num_blocks * block_size)
        self.batch_sizes: list[int] = []

    def execute(self, plan: StepPlan) -> StepResult:
        self.batch_sizes.append(len(plan.sequences))
        for block in plan.dirty_blocks:
            start = block * self.block_size
            self.slots[start : start + self.block_size] = [None] * self.block_size
        for sequence in plan.sequences:
            for offset, token in enumerate(sequence.token_ids):
                position = sequence.start_position + offset
                self.slots[self._slot(sequence.block_table, position)] = (token, position)
        return StepResult(
            tuple(
                next_token([self._read(s.block_table, p) for p in range(s.end_position)])
                for s in plan.sequences
                if s.samples
            )
        )

    def probe(self) -> None:
        """Nothing can break here."""

    def _slot(self, table: list[int], position: int) -> int:
        return table[position // self.block_size] * self.block_size + position % self.block_size

    def _read(self, table: list[int], position: int) -> tuple[int, int]:
        content = self.slots[self._slot(table, position)]
        assert content is not None, "the step reads a slot that nothing was written to"
        return content
