"""Which blocks hold which prefixes. Integers and digests only; no torch.

A full block is named by a chain: SHA-256 over the name of the block before it and its own token
ids, begun with the model's and the tenant's salt. Equal names mean equal prefixes from the first
token on. The token ids are compared on a hit all the same: a wrong share would show one user's
text to another, so a strong hash is the second line of defence and not the only one.
"""

from __future__ import annotations

from array import array
from hashlib import sha256
from typing import NamedTuple


class BlockName(NamedTuple):
    """The name of a full block, and the token ids in it (uint32 bytes)."""

    digest: bytes
    tokens: bytes


def salted_root(*salts: str) -> bytes:
    """What a chain begins with: chains of different salts have no name in common."""
    return sha256(b"".join(sha256(salt.encode()).digest() for salt in salts)).digest()


def block_name(parent: bytes, token_ids: list[int]) -> BlockName:
    """The name of the block that follows the one (or the root) whose digest is `parent`."""
    tokens = array("I", token_ids).tobytes()
    return BlockName(sha256(parent + tokens).digest(), tokens)


class PrefixIndex:
    """Names to blocks and back; each block has one name at most, and each name one block."""

    def __init__(self) -> None:
        self._block_of: dict[bytes, int] = {}
        self._name_of: dict[int, BlockName] = {}

    def __contains__(self, block: int) -> bool:
        return block in self._name_of

    def __len__(self) -> int:
        return len(self._name_of)

    def find(self, name: BlockName) -> int | None:
        """The block that holds exactly this prefix; None if there is none."""
        block = self._block_of.get(name.digest)
        if block is None or self._name_of[block].tokens != name.tokens:
            return None
        return block

    def insert(self, name: BlockName, block: int) -> None:
        """Name a block. If another has the name already, this one stays without."""
        if name.digest not in self._block_of and block not in self._name_of:
            self._block_of[name.digest] = block
            self._name_of[block] = name

    def remove(self, block: int) -> None:
        """Take a block's name away, if it has one."""
        name = self._name_of.pop(block, None)
        if name is not None:
            del self._block_of[name.digest]

    def check(self) -> None:
        """Assert that both directions agree."""
        assert {n.digest: b for b, n in self._name_of.items()} == self._block_of
