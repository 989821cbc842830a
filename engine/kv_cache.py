"""`BlockPool`: which blocks of the KV cache are free. Integers only; the tensors are elsewhere."""

from __future__ import annotations

from collections import deque


class BlockPool:
    """Hands out block ids 0 .. num_blocks - 1, each to one owner at a time.

    Freed blocks go to the back of the line, so that a block rests as long as possible before it
    is written again: a use after free then shows old content, not a neighbour's new content.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"{num_blocks} blocks of {block_size} tokens make no cache")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._free: deque[int] = deque(range(num_blocks))
        self._is_used = bytearray(num_blocks)

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return self.num_blocks - len(self._free)

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)

    def allocate(self, count: int) -> list[int] | None:
        """`count` blocks, or None (and nothing changes) if there are not that many."""
        if count > len(self._free):
            return None
        blocks = [self._free.popleft() for _ in range(count)]
        for block in blocks:
            self._is_used[block] = True
        return blocks

    def free(self, blocks: list[int]) -> None:
        """Take blocks back. A block that is not in use is our own fault: AssertionError."""
        for block in blocks:
            assert self._is_used[block], f"block {block} is freed twice"
            self._is_used[block] = False
            self._free.append(block)

    def check(self) -> None:
        """Assert every invariant: each block is either free, once, or in use."""
        assert len(set(self._free)) == len(self._free), "a block is free twice"
        assert all(not self._is_used[block] for block in self._free), "a free block is in use"
        assert sum(self._is_used) == self.num_used, "a block is lost"
