"""`BlockPool`: who holds which block of the KV cache. Integers only; the tensors are elsewhere.

::

              allocate             free, unnamed
      FREE ──────────────▶ USED ──────────────────▶ FREE
        ▲                  ▲  │ free, named
        │ evict            │  ▼
        └───────────────  CACHED      (nobody holds it, a later prefix may)
                    share
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from engine.prefix_index import PrefixIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.prefix_index import BlockName


class BlockPool:
    """Hands out block ids 0 .. num_blocks - 1 and counts who shares them.

    Freed blocks go to the back of the line, so that a block rests as long as possible before it is
    written again. Named ones stay findable until they are evicted, least recently used first.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"{num_blocks} blocks of {block_size} tokens make no cache")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._free: deque[int] = deque(range(num_blocks))
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._num_holders = [0] * num_blocks
        self._index = PrefixIndex()

    @property
    def num_available(self) -> int:
        """Blocks that nobody holds: free ones, and cached ones that can be evicted."""
        return len(self._free) + len(self._cached)

    @property
    def num_used(self) -> int:
        return self.num_blocks - self.num_available

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)

    def num_holders(self, block: int) -> int:
        return self._num_holders[block]

    def is_private(self, block: int) -> bool:
        """One sequence alone holds it and no other can find it: it may be written."""
        return self._num_holders[block] == 1 and block not in self._index

    def find(self, name: BlockName) -> int | None:
        """The block of this name. Changes nothing: `share` it to keep it."""
        return self._index.find(name)

    def share(self, blocks: Iterable[int]) -> None:
        """Hold blocks that `find` has found, or that another sequence holds."""
        for block in blocks:
            self._cached.pop(block, None)
            self._num_holders[block] += 1

    def allocate(self, count: int) -> list[int] | None:
        """`count` blocks without content, or None (and nothing changes) if there are not that
        many; evicts what has not been used for longest."""
        if count > self.num_available:
            return None
        while len(self._free) < count:
            block, _ = self._cached.popitem(last=False)
            self._index.remove(block)
            self._free.append(block)
        blocks = [self._free.popleft() for _ in range(count)]
        for block in blocks:
            self._num_holders[block] = 1
        return blocks

    def name(self, block: int, name: BlockName) -> None:
        """Say what a held block holds: it is full and computed."""
        assert self._num_holders[block], f"block {block} is named but nobody's"
        self._index.insert(name, block)

    def forget(self, block: int) -> None:
        """Nobody shall find this block any more."""
        self._index.remove(block)
        if block in self._cached:
            del self._cached[block]
            self._free.append(block)

    def free(self, blocks: list[int]) -> None:
        """Let go of a sequence's blocks. Its last ones are evicted first: without the ones before
        them they are of no use. A block that nobody holds is our own fault: AssertionError."""
        for block in reversed(blocks):
            assert self._num_holders[block] > 0, f"block {block} is freed twice"
            self._num_holders[block] -= 1
            if not self._num_holders[block]:
                if block in self._index:
                    self._cached[block] = None
                else:
                    self._free.append(block)

    def check(self) -> None:
        """Assert every invariant: each block is free, cached or held; only named ones are cached."""
        self._index.check()
        idle = [*self._free, *self._cached]
        assert len(set(idle)) == len(idle), "a block is idle twice"
        assert all(not self._num_holders[block] for block in idle), "an idle block is held"
        assert sum(n > 0 for n in self._num_holders) == self.num_used, "a block is lost"
        assert all(block in self._index for block in self._cached), "a cached block has no name"
        assert not any(block in self._index for block in self._free), "a free block has a name"
