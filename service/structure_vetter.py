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
from engine.structured.vocabulary import UnusableVocabulary
from service.errors import InternalFault, NotSupported, Overloaded
from service.structure import refused

if TYPE_CHECKING:
    from engine.structured.vocabulary import Vocabulary
    from service.structure import Structure

    _Key = tuple[str, Vocabulary]

MAX_VET_S = 3.0
MAX_START_S = 60.0
"""A worker imports, and reads the vocabulary, before its first grammar."""

MAX_WAITING = 256
MAX_CACHE_BYTES = 8 << 20
MAX_KILLERS = 64
KILLER_REFUSED_S = 60.0

_TOO_LARGE = "it is too large, or nested too deeply"
_TOO_LONG = "it takes too long to work out"


class _Killed(Exception):
    """The worker has not answered; the text says why."""


class StructureVetter:
    """Remembers what the worker said, within `MAX_CACHE_BYTES`; that it was killed only for a
    while, for it may have been the machine."""

    def __init__(self, max_vet_s: float = MAX_VET_S) -> None:
        self._max_vet_s = max_vet_s
        self._one = anyio.Lock()
        self._num_waiting = 0
        self._warm: Vocabulary | None = None
        """What the worker has read; None if it has to be started."""
        self._known: OrderedDict[_Key, str] = OrderedDict()
        self._num_bytes = 0
        self._killers: OrderedDict[_Key, tuple[float, str]] = OrderedDict()
        """Until when they are refused without another try, and why."""

    async def check(self, structure: Structure, vocabulary: Vocabulary) -> None:
        """Raises:
        BadRequest: answers cannot be made to follow it.
        NotSupported: answers of this model can be made to follow nothing.
        Overloaded: too many others wait to be looked at.
        InternalFault: no worker can be started.
        """
        try:
            param, fault = await self._fault_in(structure, vocabulary)
        except UnusableVocabulary:
            raise NotSupported(
                "Answers of this model cannot be held to a form: its tokens are of an unknown kind.",
                param=structure.param,
            ) from None
        if fault:
            raise refused(param, fault)

    async def _fault_in(self, structure: Structure, vocabulary: Vocabulary) -> tuple[str, str]:
        """The field at fault, and why; "" if nothing is."""
        whole = structure.param, await self._fault_of((structure.grammar, vocabulary))
        end_s = anyio.current_time() + self._max_vet_s
        # What takes too long as a whole is not tried again by its parts.
        if whole[1] and whole[1] not in (_TOO_LARGE, _TOO_LONG):
            for param, grammar in structure.parts:
                if fault := await self._fault_of((grammar, vocabulary)):
                    return param, fault
                if anyio.current_time() > end_s:
                    break
        return whole

    async def _fault_of(self, key: _Key) -> str:
        fault = self._recall(key)
        if fault is not None:
            return fault
        if self._num_waiting >= MAX_WAITING:
            raise Overloaded("Too many new grammars wait to be looked at. Try later.")
        self._num_waiting += 1
        try:
            async with self._one:  # whoever waited may find that another has asked the same
                fault = self._recall(key)
                return await self._vet(key) if fault is None else fault
        finally:
            self._num_waiting -= 1

    def _recall(self, key: _Key) -> str | None:
        """What was found before; None if nothing was."""
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        until_s, reason = self._killers.get(key, (0.0, ""))
        return reason if anyio.current_time() < until_s else None

    async def _vet(self, key: _Key) -> str:
        grammar, vocabulary = key
        if self._warm != vocabulary:
            with anyio.CancelScope(shield=True):  # else impatient clients would kill each start
                try:
                    await self._run(of_choice(["x"]), vocabulary, MAX_START_S)
                except _Killed as error:
                    raise InternalFault from error
        try:
            fault = await self._run(grammar, vocabulary, self._max_vet_s)
        except _Killed as error:
            self._note_killer(key, str(error))
            return str(error)
        self._remember(key, fault)
        return fault

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
            raise _Killed(_TOO_LARGE) from None
        raise _Killed(_TOO_LONG)

    def _note_killer(self, key: _Key, reason: str) -> None:
        self._killers[key] = anyio.current_time() + KILLER_REFUSED_S, reason
        self._killers.move_to_end(key)
        if len(self._killers) > MAX_KILLERS:
            self._killers.popitem(last=False)

    def _remember(self, key: _Key, fault: str) -> None:
        """The newest is kept whatever its size."""
        self._known[key] = fault
        self._num_bytes += len(key[0]) + len(fault)
        while self._num_bytes > MAX_CACHE_BYTES and len(self._known) > 1:
            (grammar, _), old = self._known.popitem(last=False)
            self._num_bytes -= len(grammar) + len(old)
