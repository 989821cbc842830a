"""`StructureVetter`: nothing reaches the engine that was not tried in a process that may die of it.

One worker, killed when it takes too long or too much memory, and started again for the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import anyio
import anyio.to_process

from engine.structured.grammar import of_choice
from engine.structured.vetting import fault_in_worker
from service.errors import InternalFault, Overloaded
from service.structure import refused

if TYPE_CHECKING:
    from engine.structured.vocabulary import Vocabulary
    from service.structure import Structure

MAX_VET_S = 3.0
MAX_START_S = 60.0
"""A worker imports, and reads the vocabulary, before its first grammar."""

MAX_WAITING = 256
MAX_CACHE_BYTES = 8 << 20


class _Killed(Exception):
    """The worker has not answered; the text says why."""


class StructureVetter:
    """Remembers what the worker said, within `MAX_CACHE_BYTES`. That it was killed is forgotten: it
    may have been the machine."""

    def __init__(self, max_vet_s: float = MAX_VET_S) -> None:
        self._max_vet_s = max_vet_s
        self._one = anyio.Lock()
        self._num_waiting = 0
        self._warm: Vocabulary | None = None
        """What the worker has read; None if it has to be started."""
        self._known: OrderedDict[tuple[str, Vocabulary], str] = OrderedDict()
        self._num_bytes = 0

    async def check(self, structure: Structure, vocabulary: Vocabulary) -> None:
        """Raises:
        BadRequest: answers cannot be made to follow it.
        Overloaded: too many others wait to be looked at.
        InternalFault: no worker can be started.
        """
        key = (structure.grammar, vocabulary)
        if key not in self._known and self._num_waiting >= MAX_WAITING:
            raise Overloaded("Too many new grammars wait to be looked at. Try later.")
        self._num_waiting += 1
        try:
            async with self._one:
                if key not in self._known:
                    self._remember(key, await self._vet(structure.grammar, vocabulary))
                self._known.move_to_end(key)
                fault = self._known[key]
        except _Killed as error:
            raise refused(structure.param, str(error)) from None
        finally:
            self._num_waiting -= 1
        if fault:
            raise refused(structure.param, fault)

    async def _vet(self, grammar: str, vocabulary: Vocabulary) -> str:
        if self._warm != vocabulary:
            try:
                await self._run(of_choice(["x"]), vocabulary, MAX_START_S)
            except _Killed as error:
                raise InternalFault from error
        return await self._run(grammar, vocabulary, self._max_vet_s)

    async def _run(self, grammar: str, vocabulary: Vocabulary, max_s: float) -> str:
        """What the worker says. Whoever is cancelled in here kills it."""
        self._warm = None
        try:
            with anyio.move_on_after(max_s):
                fault = await anyio.to_process.run_sync(
                    fault_in_worker, grammar, vocabulary, cancellable=True
                )
                self._warm = vocabulary
                return fault
        except anyio.BrokenWorkerProcess:
            raise _Killed("it is too large, or nested too deeply") from None
        raise _Killed("it takes too long to work out")

    def _remember(self, key: tuple[str, Vocabulary], fault: str) -> None:
        """The newest is kept whatever its size."""
        self._known[key] = fault
        self._num_bytes += len(key[0]) + len(fault)
        while self._num_bytes > MAX_CACHE_BYTES and len(self._known) > 1:
            (grammar, _), old = self._known.popitem(last=False)
            self._num_bytes -= len(grammar) + len(old)
