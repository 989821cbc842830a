"""A runner without a model: its next token is a hash of what the cache really holds.

A wrong block, a stale slot, a token computed twice or one of another request changes the text,
so comparing with `expected_tokens` proves the scheduler's bookkeeping.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from engine.kv_cache import CacheGroup, KVCache
from engine.step import StepResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.step import RowStart, StepPlan

VOCABULARY = 7

Slot = tuple[int, int] | None
Windows = tuple[int | None, ...]


def next_token(histories: list[list[tuple[int, int]]], sample: int = 0) -> int:
    """A token id from the (token, position) pairs that each group of layers sees."""
    return zlib.crc32(repr((histories, sample)).encode()) % VOCABULARY


def expected_tokens(
    prompt: list[int], count: int, windows: Windows = (None,), sample: int = 0
) -> list[int]:
    """What a sample must give, alone or in any crowd."""
    tokens = list(prompt)
    for _ in range(count):
        pairs = [(token, position) for position, token in enumerate(tokens)]
        histories = [pairs if window is None else pairs[-window:] for window in windows]
        tokens.append(next_token(histories, sample))
    return tokens[len(prompt) :]


def make_cache(
    num_blocks: int, block_size: int, windows: Windows = (None,), max_step_tokens: int = 64
) -> KVCache:
    """A cache with as many blocks in every group."""
    groups = [CacheGroup(num_blocks, block_size, window) for window in windows]
    return KVCache(groups, max_step_tokens=max_step_tokens)


class HashRunner:
    """Writes (token, position) into slots and reads histories back through block tables."""

    def __init__(
        self, num_blocks: int, block_size: int, windows: Windows = (None,), num_rows: int = 256
    ) -> None:
        self.block_size = block_size
        self.windows = windows
        self.slots: list[list[Slot]] = [[None] * (num_blocks * block_size) for _ in windows]
        self.tables: list[list[dict[int, int]]] = [[{} for _ in range(num_rows)] for _ in windows]
        self.starts: dict[int, RowStart] = {}
        self.batch_sizes: list[int] = []

    def execute(self, plan: StepPlan) -> StepResult:
        self.batch_sizes.append(len(plan.rows))
        self._prepare(plan)
        drawn: list[int | None] = []
        offset = 0
        for row, start, count, draws in zip(
            plan.rows, plan.starts, plan.counts, plan.draws, strict=True
        ):
            self._write(row, start, plan.token_ids[offset : offset + count])
            offset += count
            if draws:
                drawn.append(self._next_token(row, start + count))
        return StepResult(drawn)

    def probe(self) -> None:
        """Nothing can break here."""

    def _prepare(self, plan: StepPlan) -> None:
        for start in plan.row_starts:
            self.starts[start.row] = start
            for tables in self.tables:
                tables[start.row] = {}
        for change in plan.table_changes:
            table = self.tables[change.group][change.row]
            table.update(enumerate(change.blocks, change.index))
        copied = [(group, to, self._block(group, block)) for group, block, to in plan.copies]
        for group, block in plan.dirty_blocks:
            self._set_block(group, block, [None] * self.block_size)
        for group, block, content in copied:
            self._set_block(group, block, content)

    def _write(self, row: int, start: int, token_ids: Sequence[int]) -> None:
        for group in range(len(self.windows)):
            for position, token in enumerate(token_ids, start):
                self.slots[group][self._slot(group, row, position)] = (token, position)

    def _next_token(self, row: int, end: int) -> int:
        histories: list[list[tuple[int, int]]] = []
        for group, window in enumerate(self.windows):
            first = 0 if window is None else max(end - window, 0)
            histories.append([self._read(group, row, p) for p in range(first, end)])
        return next_token(histories, self.starts[row].sample)

    def _slot(self, group: int, row: int, position: int) -> int:
        block = self.tables[group][row][position // self.block_size]
        return block * self.block_size + position % self.block_size

    def _read(self, group: int, row: int, position: int) -> tuple[int, int]:
        content = self.slots[group][self._slot(group, row, position)]
        assert content is not None, "the step reads a slot that nothing was written to"
        return content

    def _block(self, group: int, block: int) -> list[Slot]:
        return self.slots[group][block * self.block_size : (block + 1) * self.block_size]

    def _set_block(self, group: int, block: int, content: list[Slot]) -> None:
        self.slots[group][block * self.block_size : (block + 1) * self.block_size] = content
