"""`StructureVetter`: nothing reaches the engine that was not tried in a process that may die of it.

One worker, killed when it takes too long or too much memory, and started again by the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import anyio
import anyio.to_process

from engine.structured.grammar import of_choice
from engine.structured.vetting import fault_in_worker
from service.structure import refused

if TYPE_CHECKING:
    from engine.structured.vocabulary import Vocabulary
    from service.structure import Structure

MAX_VET_S = 3.0
MAX_START_S = 60.0
"""A worker imports, and reads the vocabulary, before its first grammar."""

MAX_CACHE_BYTES = 8 << 20


class StructureVetter:
    """Remembers what it has found, within `MAX_CACHE_BYTES`."""

    def __init__(self, max_vet_s: float = MAX_VET_S) -> None:
        self._max_vet_s = max_vet_s
        self._one = anyio.CapacityLimiter(1)
        self._is_warm = False
        self._known: OrderedDict[tuple[str, Vocabulary], str] = OrderedDict()
        self._num_bytes = 0

    async def check(self, structure: Structure, vocabulary: Vocabulary) -> None:
        """Raises BadRequest: answers cannot be made to follow it."""
        key = (structure.grammar, vocabulary)
        fault = self._known.get(key)
        if fault is None:
            fault = await self._vet(structure.grammar, vocabulary)
            self._remember(key, fault)
        else:
            self._known.move_to_end(key)
        if fault:
            raise refused(structure, fault)

    async def _vet(self, grammar: str, vocabulary: Vocabulary) -> str:
        if not self._is_warm:
            await self._run(of_choice(["x"]), vocabulary, MAX_START_S)
            self._is_warm = True
        return await self._run(grammar, vocabulary, self._max_vet_s)

    async def _run(self, grammar: str, vocabulary: Vocabulary, max_s: float) -> str:
        async with self._one:
            try:
                with anyio.move_on_after(max_s):
                    return await anyio.to_process.run_sync(
                        fault_in_worker, grammar, vocabulary, cancellable=True
                    )
            except anyio.BrokenWorkerProcess:
                self._is_warm = False
                return "it takes too much memory"
            self._is_warm = False
            return "it takes too long to work out"

    def _remember(self, key: tuple[str, Vocabulary], fault: str) -> None:
        if key not in self._known:
            self._num_bytes += len(key[0]) + len(fault)
        self._known[key] = fault
        while self._num_bytes > MAX_CACHE_BYTES:
            (grammar, _), old = self._known.popitem(last=False)
            self._num_bytes -= len(grammar) + len(old)
