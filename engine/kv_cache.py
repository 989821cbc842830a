"""`KVCache`: which blocks belong to which sequence, in each group of layers. Integers only.

Layers that see every token are one group, layers with the same window another. A group has a pool
of its own, and each sequence a table for it::

                 tokens   0..15 16..31 32..47 48..63
    full group            [ 4  ][ 9  ][ 2  ][ 7  ]
    window of 20          [ -- ][ -- ][ 5  ][ 3  ]      -- given back: no later token sees it

What a sequence holds is found again by name (see `prefix_index`) once it is full and known to be
good; what others hold or can find is copied before it is written.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from engine.block_pool import BlockPool
from engine.cache_size import num_peak_blocks
from engine.step import TableChange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.prefix_index import BlockName
    from engine.sequence import Sequence
    from engine.step import StepPlan

NO_BLOCK = -1
"""In a table: the window has moved on and the block has been given back."""


class CacheGroup:
    """Layers that see the same tokens. `window` counts the tokens that a token sees, itself
    included; None: all before it."""

    def __init__(self, num_blocks: int, block_size: int, window: int | None) -> None:
        self.pool = BlockPool(num_blocks, block_size)
        self.window = window
        self.num_reserved = 0
        """Blocks promised to running sequences; only windows promise, so that they never run dry."""

    def first_visible_block(self, position: int) -> int:
        """Index of the first block that the token at `position`, or a later one, still sees."""
        if self.window is None:
            return 0
        return max(position - self.window + 1, 0) // self.pool.block_size

    def num_peak_blocks(self, num_tokens: int, max_step_tokens: int) -> int:
        """The most that a sequence of `num_tokens` at its end can hold at once."""
        return num_peak_blocks(num_tokens, self.pool.block_size, self.window, max_step_tokens)


class KVCache:
    """Gives blocks to sequences and takes them back; keeps what a runner must be told of it.

    Sequences hold what it has given them in `tables`; nobody else changes these.
    """

    def __init__(self, groups: list[CacheGroup], *, max_step_tokens: int) -> None:
        """`groups[0]` has the widest view. `max_step_tokens` bounds a sequence's share of a step."""
        self.groups = groups
        self.block_size = groups[0].pool.block_size
        self.num_wakes = 0
        """Grows when a waiting sequence may find what it did not find before."""
        self._max_step_tokens = max_step_tokens
        self._computing: dict[bytes, Sequence] = {}
        self._awaited: set[bytes] = set()
        self._table_changes: list[TableChange] = []
        self._copies: list[tuple[int, int, int]] = []
        self._dirty_blocks: list[tuple[int, int]] = []

    @property
    def num_blocks(self) -> int:
        return sum(group.pool.num_blocks for group in self.groups)

    @property
    def num_blocks_used(self) -> int:
        return sum(group.pool.num_used for group in self.groups)

    def can_ever_hold(self, num_tokens: int) -> bool:
        """A sequence of so many tokens has room if it is alone."""
        return all(
            group.num_peak_blocks(num_tokens, self._max_step_tokens) <= group.pool.num_blocks
            for group in self.groups
        )

    def num_cached_blocks(self, sequence: Sequence) -> int:
        """Blocks of its longest known prefix; notes what it waits for if another sequence computes
        the next one at this moment. The last token is always computed: its logits are wanted."""
        names = sequence.names_of_full_blocks(sequence.num_tokens - 1, self.block_size)
        num_hits = self._num_hits(names)
        sequence.waits_for = names[num_hits].digest if num_hits < len(names) else b""
        return num_hits

    def is_waiting(self, sequence: Sequence) -> bool:
        """Another sequence is computing what this one would have to compute next."""
        if sequence.waits_for in self._computing:
            self._awaited.add(sequence.waits_for)
            return True
        return False

    def admit(self, sequence: Sequence, num_hits: int) -> bool:
        """Give it the `num_hits` blocks that `num_cached_blocks` has found, and room for all its
        tokens and one more; False, and nothing changes, if there is no room."""
        names = sequence.block_names[:num_hits]
        peaks = [g.num_peak_blocks(sequence.max_len, self._max_step_tokens) for g in self.groups]
        if not self._can_reserve(peaks):
            return False
        pool = self.groups[0].pool
        hits = self._share_hits(0, names)
        blocks = None
        if self.groups[0].window is None:
            blocks = pool.allocate(pool.num_blocks_for(sequence.num_tokens + 1) - num_hits)
            if blocks is None:
                pool.free(hits)
                return False
        sequence.tables = [hits + (blocks or [])]
        for index in range(1, len(self.groups)):
            sequence.tables.append(self._share_hits(index, names))
        self._reserve(sequence, peaks)
        sequence.num_freed_blocks = [
            group.first_visible_block(num_hits * self.block_size) for group in self.groups
        ]
        sequence.num_computed_tokens = num_hits * self.block_size
        sequence.num_named_blocks = num_hits
        sequence.next_name_at = (num_hits + 1) * self.block_size
        self._note_slots(sequence)
        for name in sequence.block_names[num_hits:]:
            self._computing.setdefault(name.digest, sequence)
        return True

    def announce_tables(self, sequence: Sequence) -> None:
        """Tell the runner all blocks of a sequence that has just got its row."""
        for group, table in enumerate(sequence.tables):
            if table:
                self._table_changes.append(TableChange(group, sequence.row, 0, table.copy()))

    def grow(self, sequence: Sequence, end: int) -> bool:
        """Let a running sequence write up to position `end`, exclusive; False, and nothing has
        changed, if the pool of the full group has too few blocks. Windows have reserved theirs."""
        full = self.groups[0]
        if full.window is None and not self._extend(0, sequence, end):
            return False
        for index in range(full.window is None, len(self.groups)):
            self._slide(index, sequence)
            has_room = self._extend(index, sequence, end)
            assert has_room, "a window has run dry in spite of what it has reserved"
        self._note_slots(sequence)
        return True

    def fork(self, parent: Sequence, child: Sequence) -> bool:
        """Let `child` hold all that `parent` holds of the prompt but its last token, which it
        computes for itself; False, and nothing has changed, if windows cannot promise it room."""
        peaks = [g.num_peak_blocks(child.max_len, self._max_step_tokens) for g in self.groups]
        if not self._can_reserve(peaks):
            return False
        num_tokens = child.num_tokens - 1
        for group, table in zip(self.groups, parent.tables, strict=True):
            shared = table[: group.pool.num_blocks_for(num_tokens)]
            group.pool.share(b for b in shared if b != NO_BLOCK)
            child.tables.append(shared)
        self._reserve(child, peaks)
        child.num_freed_blocks = parent.num_freed_blocks.copy()
        child.num_computed_tokens = num_tokens
        child.num_named_blocks = min(parent.num_named_blocks, num_tokens // self.block_size)
        child.next_name_at = (child.num_named_blocks + 1) * self.block_size
        # Both look before they write: the block in which the prompt ends is now shared.
        child.num_slots = num_tokens
        parent.num_slots = min(parent.num_slots, parent.num_computed_tokens)
        return True

    def name_full_blocks(self, sequence: Sequence) -> None:
        """Let others find the blocks that have become full. Not before a token has been drawn: that
        its logits were finite says that what lies in the blocks is."""
        num_full = sequence.num_computed_tokens // self.block_size
        names = sequence.names_of_full_blocks(sequence.num_computed_tokens, self.block_size)
        for index in range(sequence.num_named_blocks, num_full):
            digest = names[index].digest
            for group, table in zip(self.groups, sequence.tables, strict=True):
                if table[index] != NO_BLOCK:
                    group.pool.name(table[index], names[index])
            self._computing.pop(digest, None)
            if digest in self._awaited:
                self._awaited.remove(digest)
                self.num_wakes += 1
        sequence.num_named_blocks = num_full
        sequence.next_name_at = (num_full + 1) * self.block_size

    def release(self, sequence: Sequence, *, is_clean: bool) -> None:
        """Take everything back; nobody waits for it any more. Not `is_clean`: what has no name yet
        may be no numbers, for a step failed, or nobody has looked at what came of it."""
        for index, (group, table) in enumerate(zip(self.groups, sequence.tables, strict=True)):
            if not is_clean:
                self._mark_dirty(index, table[sequence.num_named_blocks :])
            group.pool.free([block for block in table if block != NO_BLOCK])
            group.num_reserved -= sequence.num_reserved_blocks[index]
        if self._table_changes:
            self._table_changes = [c for c in self._table_changes if c.row != sequence.row]
        if self._copies:  # whoever gets its blocks next may have others copied into them
            self._copies = [c for c in self._copies if c[2] not in sequence.tables[c[0]]]
        for name in sequence.block_names:
            if self._computing.get(name.digest) is sequence:
                del self._computing[name.digest]
        if self._awaited:
            self._awaited.intersection_update(self._computing)
        sequence.tables = []
        sequence.num_reserved_blocks = []
        sequence.num_slots = 0
        self.num_wakes += 1

    def drain_changes(self, plan: StepPlan) -> None:
        """Write into a plan what the runner must be told before its step."""
        plan.table_changes.extend(self._table_changes)
        plan.copies.extend(self._copies)
        plan.dirty_blocks.extend(self._dirty_blocks)
        self._table_changes, self._copies, self._dirty_blocks = [], [], []

    def take_back_changes(self, plan: StepPlan) -> None:
        """Its step has failed, perhaps before it did what it was told for others: the next one does.
        Those that were in it fail with it."""
        self._dirty_blocks = plan.dirty_blocks + self._dirty_blocks
        others = [change for change in plan.table_changes if change.row not in plan.rows]
        self._table_changes = others + self._table_changes

    def check(self, running: Iterable[Sequence]) -> None:
        """Assert every invariant of pools, tables and reservations."""
        sequences = list(running)
        for index, group in enumerate(self.groups):
            group.pool.check()
            held = Counter(b for s in sequences for b in s.tables[index] if b != NO_BLOCK)
            assert len(held) == group.pool.num_used, "a held block is in no table, or the opposite"
            assert all(group.pool.num_holders(block) == n for block, n in held.items())
            assert group.num_reserved == sum(s.num_reserved_blocks[index] for s in sequences)
            if group.window is not None:
                assert group.num_reserved <= group.pool.num_blocks
                for s in sequences:
                    num_held = sum(b != NO_BLOCK for b in s.tables[index])
                    assert num_held <= s.num_reserved_blocks[index]
        assert set(map(id, self._computing.values())) <= set(map(id, sequences))
        assert self._awaited <= self._computing.keys()

    def _num_hits(self, names: list[BlockName]) -> int:
        """The longest prefix that every group knows as far as it would look."""
        num_hits = 0
        known = [True] * len(self.groups)
        run_starts = [0] * len(self.groups)
        for index, name in enumerate(names):
            for g, group in enumerate(self.groups):
                known[g] = group.pool.find(name) is not None
                if not known[g]:
                    run_starts[g] = index + 1
            if self.groups[0].window is None and not known[0]:
                break
            end = index + 1
            if all(
                run_starts[g] <= group.first_visible_block(end * self.block_size)
                for g, group in enumerate(self.groups)
            ):
                num_hits = end
        return num_hits

    def _share_hits(self, index: int, names: list[BlockName]) -> list[int]:
        """Hold the named blocks that a group will look at."""
        group = self.groups[index]
        first = group.first_visible_block(len(names) * self.block_size)
        table = [NO_BLOCK] * min(first, len(names))
        for name in names[first:]:
            block = group.pool.find(name)
            assert block is not None, "a hit is gone between the search and its use"
            table.append(block)
        group.pool.share(table[first:])
        return table

    def _can_reserve(self, peaks: list[int]) -> bool:
        return all(
            group.window is None or group.num_reserved + peak <= group.pool.num_blocks
            for group, peak in zip(self.groups, peaks, strict=True)
        )

    def _reserve(self, sequence: Sequence, peaks: list[int]) -> None:
        for group, peak in zip(self.groups, peaks, strict=True):
            promised = 0 if group.window is None else peak
            group.num_reserved += promised
            sequence.num_reserved_blocks.append(promised)

    def _slide(self, index: int, sequence: Sequence) -> None:
        """Give back what no token from now on sees."""
        group, table = self.groups[index], sequence.tables[index]
        first = min(group.first_visible_block(sequence.num_computed_tokens), len(table))
        start = min(sequence.num_freed_blocks[index], first)
        gone = [block for block in table[start:first] if block != NO_BLOCK]
        if not sequence.has_drawn:  # nobody has looked yet at what came of these
            self._mark_dirty(index, table[max(start, sequence.num_named_blocks) : first])
        table[start:first] = [NO_BLOCK] * (first - start)
        group.pool.free(gone)
        sequence.num_freed_blocks[index] = first

    def _extend(self, index: int, sequence: Sequence, end: int) -> bool:
        """Blocks up to position `end`, exclusive, and the first written one for itself alone."""
        pool, table = self.groups[index].pool, sequence.tables[index]
        first = sequence.num_computed_tokens // self.block_size
        must_copy = first < len(table) and not pool.is_private(table[first])
        num_missing = max(pool.num_blocks_for(end) - len(table), 0)
        if num_missing + must_copy == 0:
            return True
        shared = [table[first]] if must_copy else []
        pool.free(shared)
        blocks = pool.allocate(num_missing + must_copy)
        if blocks is None:
            pool.share(shared)
            return False
        if must_copy:
            copy = blocks.pop()
            if sequence.num_computed_tokens % self.block_size:
                self._copies.append((index, table[first], copy))
            table[first] = copy
            self._table_changes.append(TableChange(index, sequence.row, first, [copy]))
        if blocks:
            self._table_changes.append(TableChange(index, sequence.row, len(table), blocks))
            table += blocks
        return True

    def _note_slots(self, sequence: Sequence) -> None:
        """How far it can write in every group, if the block it writes next is its own."""
        sequence.num_slots = min(map(len, sequence.tables)) * self.block_size

    def _mark_dirty(self, index: int, blocks: list[int]) -> None:
        """They are zeroed before they are reused. What another sequence holds too is clean: it was
        good when that one began with it."""
        pool = self.groups[index].pool
        self._dirty_blocks += [(index, b) for b in blocks if b != NO_BLOCK and pool.is_private(b)]
