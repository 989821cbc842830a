"""`RowGrammars`: where each row of the batch stands in its grammar, and which tokens it may take."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.structured.compiler import GrammarCompiler

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy.typing as npt
    from llguidance import LLMatcher

    from engine.step import RowStart
    from engine.structured.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

MAX_WAIT_S = 0.02
"""A step waits so long for grammars that are being compiled; then the others go on without them."""


@dataclass(slots=True)
class _Row:
    """A row that has a grammar. `matcher` is made of `root` and of what was `said` before."""

    grammar: str
    root: Future[LLMatcher]
    said: list[int]
    takes_forced: bool
    matcher: LLMatcher | None = None

    def stand(self) -> LLMatcher:
        """Where it stands; waits for the grammar."""
        if self.matcher is None:
            self.matcher = self.root.result().deep_copy()
            self.matcher.consume_tokens(self.said)
        return self.matcher


class _Masks(NamedTuple):
    """The tokens that rows may not take next: [C, V], and which row's is where."""

    places: dict[int, int]
    is_out: npt.NDArray[np.bool_]


class RowGrammars:
    """The matchers of the rows that have one. A grammar has been vetted before it comes here; one
    that fails all the same allows its row nothing, which ends that request and no other.

    A step calls `prepare` before the forward pass, then `late`, `out`, `note` and `force`. Grammars
    and masks are made on threads of their own meanwhile; nobody moves a matcher while these do.
    """

    def __init__(self, num_rows: int, vocabulary: Vocabulary | None) -> None:
        self.is_bound = np.zeros(num_rows, bool)
        self._compiler = GrammarCompiler(vocabulary)
        self._thread = ThreadPoolExecutor(1, "engine-masks")  # starts with the first mask
        self._rows: dict[int, _Row] = {}
        self._job: Future[_Masks] | None = None
        self._masks: _Masks | None = None

    def start(self, start: RowStart) -> None:
        """A sequence takes the row; what it has said so far is known to be right."""
        params, row = start.params, start.row
        self.is_bound[row] = bool(params.grammar)
        self._rows.pop(row, None)
        if params.grammar:
            root = self._compiler.root(params.grammar)
            said = start.token_ids[start.num_prompt_tokens :]
            # Who wants scores wants each token's, and these need its own logits.
            takes_forced = params.num_logprobs is None
            self._rows[row] = _Row(params.grammar, root, said, takes_forced)

    def prepare(self, rows_B: npt.NDArray[np.int64]) -> None:
        """Begin to work out what these rows may take next, as far as their grammars are there."""
        bound = rows_B[self.is_bound[rows_B]].tolist()
        ready = [row for row in bound if self._rows[row].root.done()]
        self._masks = None
        self._job = self._thread.submit(self._make, ready) if ready else None

    def late(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the rows cannot draw yet, after a moment's wait: their grammars are not there."""
        is_late = self.is_bound[rows_B]
        roots = [self._rows[row].root for row in rows_B[is_late].tolist()]
        if missing := [root for root in roots if not root.done()]:
            wait(missing, MAX_WAIT_S)
        is_late[is_late] = [not root.done() for root in roots]
        return is_late

    def out(self, rows_C: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which tokens each of these bound rows may not take next: [C, V]. Waits for them."""
        if self._masks is None and self._job is not None:
            self._masks, self._job = self._job.result(), None
        rows = rows_C.tolist()
        if self._masks is None or not self._masks.places.keys() >= set(rows):
            self._masks = self._make(rows)
        places = self._masks.places
        return self._masks.is_out[[places[row] for row in rows]]

    def note(self, rows_B: npt.NDArray[np.int64], token_ids_B: npt.NDArray[np.int64]) -> None:
        """The rows have got these tokens; below 0: none."""
        self._masks = self._job = None
        for index in np.flatnonzero(self.is_bound[rows_B]).tolist():
            if token_ids_B[index] >= 0:
                self._rows[int(rows_B[index])].stand().consume_token(int(token_ids_B[index]))

    def force(self, rows_B: npt.NDArray[np.int64]) -> dict[int, list[int]]:
        """By index in `rows_B`: the tokens that can only follow now, taken note of."""
        forced: dict[int, list[int]] = {}
        for index in np.flatnonzero(self.is_bound[rows_B]).tolist():
            row = self._rows[int(rows_B[index])]
            if row.takes_forced and (ids := self._compiler.opened.forced(row.stand())):
                row.stand().consume_tokens(ids)
                forced[index] = ids
        return forced

    def _make(self, rows: list[int]) -> _Masks:
        bound = [self._rows[row] for row in rows]
        matchers = [row.stand() for row in bound]
        allowed = self._compiler.opened.allowed(matchers)
        for row, matcher in zip(bound, matchers, strict=True):
            if matcher.is_error():
                logger.error("a vetted grammar failed: %s", matcher.get_error())
                self._compiler.forget(row.grammar)
        return _Masks({row: place for place, row in enumerate(rows)}, ~allowed)
