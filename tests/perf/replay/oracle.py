"""What a cache could give, by the trace alone: one that forgets nothing, and one of a given size.

Both know block ids and lengths. They hash nothing, make no tokens and have no clock, so they share
no line of code with what they judge. An earlier request counts from its arrival on, as if it were
computed in no time. Answers never count: no trace says what is in them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observability.bench.workload.trace import Trace, TraceRequest


_BLOCK_STRIDE = 1 << 16
"""More than the cache blocks that a trace block can hold."""


def oracle_cached_tokens(trace: Trace, block_size: int) -> int:
    """Prompt tokens that need not be computed if nothing that was ever computed is lost.

    Of each prompt it counts the longest beginning that a request which arrived before has too, cut
    to whole cache blocks of `block_size` tokens, and to less than the whole prompt: the last token
    is always computed, for its logits are wanted.
    """
    num_known_tokens: dict[int, int] = {}
    total = 0
    for request, prefixes in _requests_and_prefixes(trace):
        matched = 0
        left = request.num_prompt_tokens
        for prefix in prefixes:
            length = min(trace.block_tokens, left)
            left -= length
            known = num_known_tokens.get(prefix, 0)
            # What follows an unknown or shorter block is another prefix, so it is unknown too.
            matched += min(known, length)
            num_known_tokens[prefix] = max(known, length)
        total += min(matched, request.num_prompt_tokens - 1) // block_size * block_size
    return total


def instant_lru_cached_tokens(trace: Trace, block_size: int, num_blocks: int) -> int:
    """The same for a cache of `num_blocks` that evicts what has not been used for longest, if
    requests took no time and answers no room: nothing is ever held, all of it is cache."""
    cached: OrderedDict[int, None] = OrderedDict()
    total = 0
    for request, prefixes in _requests_and_prefixes(trace):
        keys = _cache_blocks(prefixes, request.num_prompt_tokens, trace.block_tokens, block_size)
        num_hits = 0
        for key in keys[: (request.num_prompt_tokens - 1) // block_size]:
            if key not in cached:
                break
            num_hits += 1
        total += num_hits * block_size
        # The first block of a prompt is the last to go: without it the others are of no use.
        for key in reversed(keys):
            cached[key] = None
            cached.move_to_end(key)
        while len(cached) > num_blocks:
            cached.popitem(last=False)
    return total


def _requests_and_prefixes(trace: Trace) -> Iterator[tuple[TraceRequest, list[int]]]:
    """Each request with a number for each of its blocks: equal if all before it is equal too."""
    numbers: dict[tuple[int, int], int] = {}
    for request in trace.requests:
        prefixes: list[int] = []
        for block_id in request.block_ids:
            parent = prefixes[-1] if prefixes else -1
            prefixes.append(numbers.setdefault((parent, block_id), len(numbers)))
        yield request, prefixes


def _cache_blocks(
    prefixes: list[int], num_tokens: int, trace_block_tokens: int, block_size: int
) -> list[int]:
    """A number for each full cache block of a prompt; equal numbers are equal prefixes."""
    keys = [
        prefix * _BLOCK_STRIDE + index
        for prefix in prefixes
        for index in range(trace_block_tokens // block_size)
    ]
    return keys[: num_tokens // block_size]
