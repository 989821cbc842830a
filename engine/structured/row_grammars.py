"""`RowGrammars`: where each row of the batch stands in its grammar, and which tokens it may take."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from llguidance import LLMatcher

    from engine.step import RowStart
    from engine.structured.vocabulary import OpenVocabulary, Vocabulary

logger = logging.getLogger(__name__)

_MAX_ROOTS = 64


class RowGrammars:
    """The matchers of the rows that have one. A grammar has been vetted before it comes here; one
    that fails all the same allows its row nothing, which ends that request and no other."""

    def __init__(self, num_rows: int, vocabulary: Vocabulary | None) -> None:
        self.is_bound = np.zeros(num_rows, bool)
        self._vocabulary = vocabulary
        self._opened: OpenVocabulary | None = None
        self._matchers: dict[int, tuple[str, LLMatcher]] = {}
        self._roots: OrderedDict[str, LLMatcher] = OrderedDict()
        """Of late: a copy of one costs nothing, and what it has learned is shared."""

    def start(self, start: RowStart) -> None:
        """A sequence takes the row; what it has said so far is known to be right."""
        grammar, row = start.params.grammar, start.row
        self.is_bound[row] = bool(grammar)
        self._matchers.pop(row, None)
        if grammar:
            matcher = self._root(grammar).deep_copy()
            matcher.consume_tokens(start.token_ids[start.num_prompt_tokens :])
            self._matchers[row] = grammar, matcher

    def note(self, rows_B: npt.NDArray[np.int64], token_ids_B: npt.NDArray[np.int64]) -> None:
        """The rows have got these tokens; below 0: none."""
        for index in np.flatnonzero(self.is_bound[rows_B]).tolist():
            if token_ids_B[index] >= 0:
                self._matchers[int(rows_B[index])][1].consume_token(int(token_ids_B[index]))

    def allowed(self, rows_C: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which tokens each of these bound rows may take next: [C, V]."""
        assert self._opened is not None
        bound = [self._matchers[row] for row in rows_C.tolist()]
        allowed = self._opened.allowed([matcher for _, matcher in bound])
        for grammar, matcher in bound:
            if matcher.is_error():
                logger.error("a vetted grammar failed: %s", matcher.get_error())
                self._roots.pop(grammar, None)  # its other copies share what is full or broken
        return allowed

    def _root(self, grammar: str) -> LLMatcher:
        root = self._roots.pop(grammar, None)
        if root is None:
            if self._opened is None:
                assert self._vocabulary is not None
                self._opened = self._vocabulary.open()
            root = self._opened.matcher(grammar)
        self._roots[grammar] = root
        if len(self._roots) > _MAX_ROOTS:
            self._roots.popitem(last=False)
        return root
