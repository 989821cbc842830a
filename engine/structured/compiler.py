"""`GrammarCompiler`: grammars ready for use, made beside the steps; what each has cost so far."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from engine.structured.vocabulary import OpenVocabulary, Vocabulary

logger = logging.getLogger(__name__)

MAX_ROOTS = 16
MAX_CONDEMNED = 64
MAX_USES = 4096
"""Tokens after which a root is not kept: what it has learned takes memory."""

STACK_BYTES = 8 << 20
"""For what was vetted on a quarter of it."""

ALLOWANCE_S = 1.0
ALLOWANCE_PER_TOKEN_S = 0.002
"""What following a grammar may cost in all. A usual one costs a hundredth of that."""


class Root:
    """A grammar at its beginning. Its matchers are copies, which share what they have learned."""

    def __init__(self, future: Future[LLMatcher | None]) -> None:
        """`future` gives None where the grammar cannot be had."""
        self.future = future
        self.num_tokens = 0
        self.is_condemned = False
        """It costs too much, or has failed: its rows are to end."""
        self.is_heavy = False
        """What it has learned takes memory: it is not kept when nobody holds it."""
        self._spent_s = 0.0

    def copy(self) -> LLMatcher | None:
        """A matcher at the beginning; waits for it."""
        matcher = self.future.result()
        return None if matcher is None else matcher.deep_copy()

    def spend(self, seconds: float) -> None:
        """What its rows have cost."""
        self._spent_s += seconds
        if self._spent_s > ALLOWANCE_S + self.num_tokens * ALLOWANCE_PER_TOKEN_S:
            self.is_condemned = True


class GrammarCompiler:
    """Compiles on a thread of its own; keeps what was asked for of late. Used by one thread."""

    def __init__(self, vocabulary: Vocabulary | None) -> None:
        self._vocabulary = vocabulary
        self._opened: OpenVocabulary | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._roots: OrderedDict[str, Root] = OrderedDict()
        self._condemned: OrderedDict[str, None] = OrderedDict()

    @property
    def opened(self) -> OpenVocabulary:
        """The vocabulary, once a root is done."""
        assert self._opened is not None
        return self._opened

    def root(self, grammar: str) -> Root:
        """The grammar at its beginning, perhaps not ready yet."""
        self._forget()
        root = self._roots.pop(grammar, None) or Root(self._begin(grammar))
        if grammar in self._condemned:
            root.is_condemned = True
        self._roots[grammar] = root
        return root

    def _forget(self) -> None:
        """Those that have learned much, and the oldest; of the condemned only that they are."""
        for grammar, root in list(self._roots.items()):
            if root.is_condemned:
                self._condemned[grammar] = None
            if root.is_condemned or root.is_heavy or root.num_tokens > MAX_USES:
                del self._roots[grammar]
        while len(self._roots) >= MAX_ROOTS:
            self._roots.popitem(last=False)
        while len(self._condemned) > MAX_CONDEMNED:
            self._condemned.popitem(last=False)

    def _begin(self, grammar: str) -> Future[LLMatcher | None]:
        if grammar in self._condemned:
            nothing: Future[LLMatcher | None] = Future()
            nothing.set_result(None)
            return nothing
        if self._thread is None:
            self._thread = one_thread("engine-grammars", STACK_BYTES)
        return self._thread.submit(self._compile, grammar)

    def _compile(self, grammar: str) -> LLMatcher | None:
        try:
            if self._opened is None:
                assert self._vocabulary is not None
                self._opened = self._vocabulary.open()
            root = self._opened.matcher(grammar)
            self._opened.allowed([root.deep_copy()])  # the first mask takes as long as the rest
        except Exception:
            logger.exception("a vetted grammar cannot be compiled")
            return None
        return root


def one_thread(name: str, stack_bytes: int) -> ThreadPoolExecutor:
    """An executor whose thread has a stack of that size. It ends with the executor."""
    usual = threading.stack_size(stack_bytes)
    try:
        executor = ThreadPoolExecutor(1, name)
        executor.submit(int)  # starts the thread
    finally:
        threading.stack_size(usual)
    return executor
