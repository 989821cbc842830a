"""How many blocks each group of layers gets of a given memory. Pure arithmetic."""

from __future__ import annotations

import msgspec


def num_peak_blocks(
    num_tokens: int, block_size: int, window: int | None, max_step_tokens: int
) -> int:
    """The most blocks that a sequence of `num_tokens` at its end can hold at once, if a step
    computes `max_step_tokens` of it at most."""
    whole = -(-num_tokens // block_size)
    if window is None:
        return whole
    # The window before a step's first token, the step's tokens, and a block cut at each end.
    return min(whole, -(-(window + max_step_tokens) // block_size) + 1)


class GroupSize(msgspec.Struct, frozen=True):
    """A group of layers: bytes that a token takes in all of them, and how many tokens it sees."""

    bytes_per_token: int
    window: int | None


class CacheSize:
    """Shares memory between groups so that they run dry together.

    The widest group has `num_blocks`. A window needs fewer, in the ratio of what a sequence of half
    the context holds in each; but always what one of full context holds.
    """

    def __init__(
        self, groups: list[GroupSize], *, block_size: int, context: int, max_step_tokens: int
    ) -> None:
        """`context` in tokens; a sequence computes `max_step_tokens` at most in a step."""
        self._groups = groups
        self._block_size = block_size
        self._context = context
        self._max_step_tokens = max_step_tokens

    @property
    def context_blocks(self) -> int:
        """What a sequence of full context holds in the widest group."""
        return self._peak(self._groups[0], self._context)

    def blocks_of(self, num_blocks: int) -> list[int]:
        """Blocks of each group, if the widest has `num_blocks`."""
        half = max(self._context // 2, 1)
        widest = self._peak(self._groups[0], half)
        shares = [
            max(-(-num_blocks * self._peak(g, half) // widest), self._peak(g, self._context))
            for g in self._groups[1:]
        ]
        return [num_blocks, *shares]

    def bytes_of(self, num_blocks: int) -> int:
        """Memory of all groups, if the widest has `num_blocks`."""
        counts = self.blocks_of(num_blocks)
        return sum(
            count * self._block_size * group.bytes_per_token
            for count, group in zip(counts, self._groups, strict=True)
        )

    def largest_within(self, num_bytes: float, most: int) -> int:
        """The most blocks of the widest group, up to `most`, whose memory is within `num_bytes`."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.bytes_of(middle) <= num_bytes:
                low = middle
            else:
                high = middle - 1
        return low

    def _peak(self, group: GroupSize, num_tokens: int) -> int:
        return num_peak_blocks(num_tokens, self._block_size, group.window, self._max_step_tokens)
