"""`GrammarCompiler`: matchers at the beginning of their grammars, made beside the steps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from engine.structured.vocabulary import OpenVocabulary, Vocabulary

MAX_ROOTS = 64
STACK_BYTES = 8 << 20
"""For what was vetted on a quarter of it."""


class GrammarCompiler:
    """Compiles on a thread of its own; keeps what was asked for of late.

    Copies of a matcher cost nothing and share what they have learned. Used by one thread.
    """

    def __init__(self, vocabulary: Vocabulary | None) -> None:
        self._vocabulary = vocabulary
        self._opened: OpenVocabulary | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._roots: OrderedDict[str, Future[LLMatcher]] = OrderedDict()

    @property
    def opened(self) -> OpenVocabulary:
        """The vocabulary, once a root is done."""
        assert self._opened is not None
        return self._opened

    def root(self, grammar: str) -> Future[LLMatcher]:
        """A matcher at the grammar's beginning, to be copied and not to be moved."""
        root = self._roots.pop(grammar, None)
        if root is None:
            if self._thread is None:
                self._thread = one_thread("engine-grammars", STACK_BYTES)
            root = self._thread.submit(self._compile, grammar)
        self._roots[grammar] = root
        if len(self._roots) > MAX_ROOTS:
            self._roots.popitem(last=False)
        return root

    def forget(self, grammar: str) -> None:
        """It has failed, and so will all copies: they share what is full or broken."""
        self._roots.pop(grammar, None)

    def _compile(self, grammar: str) -> LLMatcher:
        if self._opened is None:
            assert self._vocabulary is not None
            self._opened = self._vocabulary.open()
        root = self._opened.matcher(grammar)
        self._opened.allowed([root.deep_copy()])  # the first mask takes as long as all the rest
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
