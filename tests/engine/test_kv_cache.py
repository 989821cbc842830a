from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kv_cache import BlockPool


def test_an_allocation_that_does_not_fit_changes_nothing() -> None:
    pool = BlockPool(3, 16)
    assert pool.allocate(2) is not None
    assert pool.allocate(2) is None
    assert (pool.num_free, pool.num_used) == (1, 2)
    pool.check()


def test_a_block_freed_twice_is_caught() -> None:
    pool = BlockPool(2, 16)
    blocks = pool.allocate(1)
    assert blocks is not None
    pool.free(blocks)
    with pytest.raises(AssertionError, match="freed twice"):
        pool.free(blocks)


@pytest.mark.parametrize(("num_blocks", "block_size"), [(0, 16), (4, 0), (-1, 16)])
def test_a_pool_of_nothing_is_refused(num_blocks: int, block_size: int) -> None:
    with pytest.raises(ValueError, match="no cache"):
        BlockPool(num_blocks, block_size)


@pytest.mark.parametrize(("num_tokens", "expected"), [(0, 0), (1, 1), (16, 1), (17, 2)])
def test_tokens_are_rounded_up_to_blocks(num_tokens: int, expected: int) -> None:
    assert BlockPool(1, 16).num_blocks_for(num_tokens) == expected


@given(st.integers(1, 12), st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_any_order_of_taking_and_giving_keeps_each_block_with_one_owner(
    num_blocks: int, operations: list[tuple[bool, int]]
) -> None:
    pool = BlockPool(num_blocks, 4)
    held: list[list[int]] = []
    for takes, number in operations:
        if takes:
            blocks = pool.allocate(number)
            assert (blocks is None) == (number > num_blocks - sum(map(len, held)))
            held += [] if blocks is None else [blocks]
        elif held:
            pool.free(held.pop(number % len(held)))
        pool.check()
        owned = [block for blocks in held for block in blocks]
        assert len(owned) == len(set(owned)) == pool.num_used
