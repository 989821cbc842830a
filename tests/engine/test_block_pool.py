from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.block_pool import BlockPool
from engine.prefix_index import BlockName, block_name, salted_root


def test_an_allocation_that_does_not_fit_changes_nothing() -> None:
    pool = BlockPool(3, 16)
    assert pool.allocate(2) is not None
    assert pool.allocate(2) is None
    assert (pool.num_available, pool.num_used) == (1, 2)
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


def named_pool(num_blocks: int, prefix: list[int]) -> tuple[BlockPool, list[BlockName]]:
    """A pool of one-token blocks in which `prefix` has been computed and let go of."""
    pool = BlockPool(num_blocks, 1)
    names = chain(prefix)
    blocks = pool.allocate(len(prefix))
    assert blocks is not None
    for block, name in zip(blocks, names, strict=True):
        pool.name(block, name)
    pool.free(blocks)
    return pool, names


def match(pool: BlockPool, names: list[BlockName]) -> list[int]:
    """The blocks of the longest known prefix."""
    found = [pool.find(name) for name in names]
    known = found.index(None) if None in found else len(found)
    return [block for block in found[:known] if block is not None]


def chain(tokens: list[int], salt: str = "") -> list[BlockName]:
    names: list[BlockName] = []
    for token in tokens:
        parent = names[-1].digest if names else salted_root(salt)
        names.append(block_name(parent, [token]))
    return names


def test_what_was_computed_is_found_by_its_prefix_and_by_nothing_else() -> None:
    pool, names = named_pool(4, [1, 2, 3])
    assert len(match(pool, names)) == 3
    assert len(match(pool, chain([1, 2, 9]))) == 2
    assert match(pool, chain([2, 3])) == []
    assert match(pool, chain([1, 2, 3], salt="another tenant")) == []


def test_a_digest_is_not_enough_for_a_hit() -> None:
    pool, names = named_pool(2, [1])
    forged = BlockName(names[0].digest, b"other")
    assert match(pool, [forged]) == []


def test_cached_blocks_count_as_available_and_are_evicted_last_of_a_prefix_first() -> None:
    pool, names = named_pool(3, [1, 2, 3])
    assert (pool.num_available, pool.num_used) == (3, 0)
    assert pool.allocate(1) is not None
    assert len(match(pool, names)) == 2
    pool.check()


def test_a_shared_block_is_free_when_the_last_holder_lets_go() -> None:
    pool, names = named_pool(2, [1])
    blocks = match(pool, names)
    pool.share(blocks)
    pool.share(blocks)
    pool.free(blocks)
    assert (pool.num_used, pool.num_holders(blocks[0])) == (1, 1)
    pool.free(blocks)
    assert pool.num_used == 0
    pool.check()


def test_a_forgotten_block_is_never_found_again() -> None:
    pool, names = named_pool(2, [1])
    pool.forget(match(pool, names)[0])
    assert match(pool, names) == []
    pool.check()


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5))))
def test_any_order_of_taking_naming_sharing_and_giving_keeps_the_books(
    num_blocks: int, operations: list[tuple[int, int]]
) -> None:
    pool = BlockPool(num_blocks, 1)
    names = chain([0, 1, 2, 3, 4, 5])
    held: list[list[int]] = []
    for operation, number in operations:
        match operation:
            case 0:
                available = pool.num_available
                blocks = pool.allocate(number)
                assert (blocks is None) == (number > available)
                held += [blocks] if blocks else []
            case 1 if held:
                pool.free(held.pop(number % len(held)))
            case 2 if held:
                pool.name(held[number % len(held)][0], names[number])
            case 3:
                found = match(pool, names[:number])
                pool.share(found)
                held += [found] if found else []
        pool.check()
        owned = [block for blocks in held for block in blocks]
        assert len(set(owned)) == pool.num_used
        assert all(pool.num_holders(block) == owned.count(block) for block in owned)
