"""A model that is a hash: its next token is the CRC of what the blocks of a row really hold.

The sibling of `tests.hash_runner`, on bytes so that a step takes microseconds. A slot is four
bytes, token and position. Numbers that are not finite are a slot of their own, `POISON`. As in the
real model they come through the mask, for 0 x NaN is NaN, and spread: whoever reads a block with one
writes them into his own, and draws None.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING
from zlib import crc32

from engine.protocol import TokenLogprobs
from engine.step import StepResult
from tests.sim.failure import InjectedFault
from tests.sim.scenario import VOCABULARY

if TYPE_CHECKING:
    from engine.step import RowStart, StepPlan
    from tests.sim.court import Court
    from tests.sim.scenario import ModelShape

SLOT_BYTES = 4
POISON = b"\xff" * SLOT_BYTES


def slots_of(token_ids: list[int], start: int = 0) -> bytes:
    """The slots of tokens at positions from `start` on."""
    return array("I", [p << 8 | t + 1 for p, t in enumerate(token_ids, start)]).tobytes()


def token_after(histories: list[bytes], salt: int, sample: int) -> int:
    """The token that follows what each group of layers sees."""
    crc = salt * 131 + sample
    for history in histories:
        crc = crc32(history, crc)
    return crc % VOCABULARY


def logprob_of(history: bytes) -> float:
    """That of the prompt's token after the `history` which the widest group sees."""
    return -float(crc32(history) % 1000)


class Reference:
    """What a sample must give, alone or in any crowd."""

    def __init__(self, prompt: list[int], shape: ModelShape, sample: int) -> None:
        self.tokens: list[int] = []
        self._num_prompt_tokens = len(prompt)
        self._shape = shape
        self._sample = sample
        self._slots = slots_of(prompt)

    def token(self, index: int) -> int:
        """Its output token of this index."""
        while len(self.tokens) <= index:
            histories = [
                self._slots if window is None else self._slots[-window * SLOT_BYTES :]
                for window in self._shape.windows
            ]
            token = token_after(histories, self._shape.salt, self._sample)
            self._slots += slots_of([token], self._num_prompt_tokens + len(self.tokens))
            self.tokens.append(token)
        return self.tokens[index]


class HashModel:
    """A `Runner` that writes slots and reads histories back through block tables."""

    def __init__(self, shape: ModelShape, court: Court) -> None:
        self._shape = shape
        self._court = court
        self._block_bytes = shape.block_size * SLOT_BYTES
        self._memory = [bytearray(count * self._block_bytes) for count, _ in shape.groups]
        self._tables: list[list[list[int]]] = [
            [[] for _ in range(shape.config.num_rows)] for _ in shape.groups
        ]
        self._starts: dict[int, RowStart] = {}
        self._references: dict[int, Reference] = {}

    def probe(self) -> None:
        if self._court.faults.is_device_broken:
            raise InjectedFault("the device is broken")

    def execute(self, plan: StepPlan) -> StepResult:
        names = self._court.on_plan(self._shape, plan)
        faults = self._court.faults
        raises_at = faults.raises_at(len(plan.rows))
        if raises_at is not None:
            self._court.excuse(names)
        if raises_at == -1:
            raise InjectedFault("before anything is noted")
        self._prepare(plan)
        bad = faults.not_finite_index(len(plan.rows))
        drawn: list[int | None] = []
        drawing: list[int] = []
        late: list[int] = []
        alone: list[int] = []
        forced: dict[int, list[int]] = {}
        prompt_logprobs: dict[int, list[TokenLogprobs]] = {}
        offset = 0
        for index, (row, start, count) in enumerate(
            zip(plan.rows, plan.starts, plan.counts, strict=True)
        ):
            written = slots_of(list(plan.token_ids[offset : offset + count]), start)
            offset += count
            if raises_at is not None or index == bad:
                written = POISON * count
                self._court.poisoned(names[index])
            if raises_at == index:
                raise InjectedFault("in the middle of a step")
            self._write(row, start, written)
            is_finite = self._is_finite(row, start, start + count)
            if not is_finite:
                self._court.on_not_finite(names[index])
                self._write(row, start, POISON * count)
            if self._starts[row].scores_prompt:
                prompt_logprobs[index] = self._score(row, start, count)
            if plan.draws[index] and faults.strikes("late draw"):
                late.append(index)
            elif (
                plan.draws[index]
                and is_finite
                and self._has_said(row, start + count)
                and faults.strikes("forced")
            ):
                forced[index] = self._foretell(row, start + count)
                alone.append(index)
            elif plan.draws[index]:
                drawing.append(row)
                drawn.append(self._draw(row, start + count) if is_finite else None)
                if is_finite and faults.strikes("forced"):
                    forced[index] = self._foretell(row, start + count + 1)
        scores = self._logprobs(drawing, drawn)
        self._court.seen["late draws"] += len(late)
        self._court.seen["forced runs"] += len(forced)
        return StepResult(drawn, scores, prompt_logprobs, forced, [*late, *alone], late)

    def _prepare(self, plan: StepPlan) -> None:
        for start in plan.row_starts:
            self._starts[start.row] = start
            self._references.pop(start.row, None)
        for change in plan.table_changes:
            table = self._tables[change.group][change.row]
            table[change.index : change.index + len(change.blocks)] = change.blocks
        size = self._block_bytes
        copied = [self._memory[g][b * size : (b + 1) * size] for g, b, _ in plan.copies]
        for group, block in plan.dirty_blocks:
            self._memory[group][block * size : (block + 1) * size] = bytes(size)
        for content, (group, _, block) in zip(copied, plan.copies, strict=True):
            self._memory[group][block * size : (block + 1) * size] = content

    def _write(self, row: int, start: int, slots: bytes) -> None:
        block_size = self._shape.block_size
        for memory, tables in zip(self._memory, self._tables, strict=True):
            table = tables[row]
            position, end = start, start + len(slots) // SLOT_BYTES
            while position < end:
                index, within = divmod(position, block_size)
                count = min(block_size - within, end - position)
                at = (table[index] * block_size + within) * SLOT_BYTES
                first = (position - start) * SLOT_BYTES
                memory[at : at + count * SLOT_BYTES] = slots[first : first + count * SLOT_BYTES]
                position += count

    def _blocks(self, group: int, row: int, first: int, end: int) -> bytes:
        """Whole blocks, as attention reads them, that hold positions `first` to `end`."""
        size, memory, table = self._block_bytes, self._memory[group], self._tables[group][row]
        block_size = self._shape.block_size
        blocks = table[first // block_size : -(-end // block_size)]
        return b"".join([memory[b * size : b * size + size] for b in blocks])

    def _is_finite(self, row: int, start: int, end: int) -> bool:
        """All that the tokens from `start` to `end` read, whole blocks as attention does."""
        for group, window in enumerate(self._shape.windows):
            first = 0 if window is None else max(start - window + 1, 0)
            if POISON in self._blocks(group, row, first, end):
                return False
        return True

    def _draw(self, row: int, end: int) -> int:
        histories: list[bytes] = []
        block_size = self._shape.block_size
        for group, window in enumerate(self._shape.windows):
            first = 0 if window is None or window > end else end - window
            blocks = self._blocks(group, row, first, end)
            skipped = first - first % block_size
            histories.append(blocks[(first - skipped) * SLOT_BYTES : (end - skipped) * SLOT_BYTES])
        return token_after(histories, self._shape.salt, self._starts[row].sample)

    def _has_said(self, row: int, end: int) -> bool:
        """Whether it has drawn before, and wants no scores."""
        start = self._starts[row]
        return end > start.num_prompt_tokens and start.params.num_logprobs is None

    def _foretell(self, row: int, end: int) -> list[int]:
        """What comes after `end` tokens: what would be drawn there anyway."""
        start = self._starts[row]
        if start.params.num_logprobs is not None:
            return []
        border = start.num_prompt_tokens
        if row not in self._references:
            prompt = start.token_ids[:border]
            self._references[row] = Reference(prompt, self._shape, start.sample)
        reference = self._references[row]
        count = self._court.rng.choice([1, 2, 5, 30])
        return [reference.token(end - border + i) for i in range(count)]

    def _score(self, row: int, start: int, count: int) -> list[TokenLogprobs]:
        token_ids = self._starts[row].token_ids[start + 1 : start + count + 1]
        window = self._shape.windows[0]
        scores = []
        for position, token_id in enumerate(token_ids, start + 1):
            first = 0 if window is None else max(position - window, 0)
            blocks = self._blocks(0, row, first, position)
            skipped = first - first % self._shape.block_size
            slots = blocks[(first - skipped) * SLOT_BYTES : (position - skipped) * SLOT_BYTES]
            scores.append(TokenLogprobs(token_id, logprob_of(slots)))
        return scores

    def _logprobs(self, rows: list[int], drawn: list[int | None]) -> list[TokenLogprobs | None]:
        wanted = [self._starts[row].params.num_logprobs is not None for row in rows]
        if not any(wanted):
            return []
        return [
            TokenLogprobs(token, -float(token)) if wants and token is not None else None
            for wants, token in zip(wanted, drawn, strict=True)
        ]
