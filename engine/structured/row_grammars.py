"""`RowGrammars`: where each row of the batch stands in its grammar, and which tokens it may take."""

from __future__ import annotations

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.structured.compiler import GrammarCompiler

if TYPE_CHECKING:
    import numpy.typing as npt
    from llguidance import LLMatcher

    from engine.step import RowStart
    from engine.structured.compiler import Root
    from engine.structured.vocabulary import OpenVocabulary, Vocabulary

logger = logging.getLogger(__name__)

MAX_WAIT_S = 0.02
"""A step waits so long for what is not ready; then the others go on without it."""

MAX_BATCH_S = 0.01
"""Rows whose masks took longer together are looked at one by one, on threads beside."""

HELD_WEIGHT = 10
"""The library holds the interpreter while it takes tokens in, and so the steps too."""

NUM_QUICK = 8
"""Masks in a row that must be quick before a watched row is a usual one again."""


class Verdicts(NamedTuple):
    """What becomes of rows that were to draw, by index: those that cannot yet, those that never
    will, for their grammar has failed, and tokens that some get without drawing."""

    late: list[int]
    refused: list[int]
    forced: dict[int, list[int]]


class _Row:
    """A row that has a grammar. Its matcher is moved by one thread at a time: by the one that does
    its jobs, which take in what was drawn, find what is forced, then make the next mask."""

    def __init__(self, root: Root, said: list[int], *, takes_forced: bool) -> None:
        self.root = root
        self.num_slow = 0
        """Above 0 it is watched."""
        self.forced: list[int] = []
        """Found, and not told yet."""
        self.advance_job: Future[None] | None = None
        self.mask_job: Future[None] | None = None
        self.out_V: npt.NDArray[np.bool_] | None = None
        """Which tokens may not come next; None: not known."""
        self.matcher: LLMatcher | None = None
        self._takes_forced = takes_forced
        self._said = said

    @property
    def is_ready(self) -> bool:
        return self.mask_job is not None and self.mask_job.done()

    @property
    def has_failed(self) -> bool:
        """Its jobs are done and have given no mask: one of them has raised."""
        if not self.is_ready or self.advance_job is None:
            return False
        return self.out_V is None or self.advance_job.exception() is not None

    def advance(self, opened: OpenVocabulary, token_id: int | None) -> None:
        """Take in what was drawn, and what is forced then."""
        if self.matcher is None:
            self.matcher = self.root.copy()
            if self.matcher is None:
                self.root.is_condemned = True
                return
            self.matcher.consume_tokens(self._said)
            self._said = []
        if token_id is None or token_id in opened.ends:  # a matcher takes no end
            return
        self.matcher.consume_token(token_id)
        if self._takes_forced:
            self.forced = opened.forced(self.matcher)
            self.matcher.consume_tokens([i for i in self.forced if i not in opened.ends])
        self.root.num_tokens += 1 + len(self.forced)

    def take_mask(self, allowed_V: npt.NDArray[np.bool_]) -> None:
        """What may come next; a matcher that has failed condemns the grammar."""
        assert self.matcher is not None
        if self.matcher.is_error():
            logger.error("a vetted grammar failed: %s", self.matcher.get_error())
            self.root.is_condemned = True
        self.out_V = ~allowed_V


class RowGrammars:
    """The rows that have a grammar. One has been vetted before it comes here; one that fails or
    costs too much all the same ends its own requests and nobody waits for it.

    A step calls `prepare` before the forward pass, then `judge`, `out`, `note` and `force`. All work
    on grammars is done on other threads meanwhile.
    """

    def __init__(
        self, num_rows: int, vocabulary: Vocabulary | None, takes_forced: bool = False
    ) -> None:
        """Without `takes_forced` every token is drawn, also where there is no choice."""
        self._takes_forced = takes_forced
        self.is_bound = np.zeros(num_rows, bool)
        self._compiler = GrammarCompiler(vocabulary)
        self._usual = ThreadPoolExecutor(1, "engine-masks")  # threads start with their first work
        self._watched = ThreadPoolExecutor(2, "engine-slow-masks")
        self._rows: dict[int, _Row] = {}

    def start(self, start: RowStart) -> None:
        """A sequence takes the row; what it has said so far is known to be right."""
        params, row = start.params, start.row
        self.is_bound[row] = bool(params.grammar)
        self._rows.pop(row, None)
        if params.grammar:
            root = self._compiler.root(params.grammar)
            said = start.token_ids[start.num_prompt_tokens :]
            # Who wants scores wants each token's, and these need its own logits.
            takes_forced = self._takes_forced and params.num_logprobs is None
            self._rows[row] = _Row(root, said, takes_forced=takes_forced)

    def prepare(self, rows_B: npt.NDArray[np.int64]) -> None:
        """Begin to work out what these rows may take first, as far as their grammars are there."""
        self._begin(
            [
                (row, None)
                for _, row in self._bound(rows_B)
                if row.mask_job is None and row.root.future.done()
            ]
        )

    def judge(self, rows_B: npt.NDArray[np.int64]) -> Verdicts:
        """Which of the rows cannot draw, after a moment's wait."""
        verdicts = Verdicts([], [], {})
        bound = self._bound(rows_B)
        jobs = {row.mask_job for _, row in bound if row.mask_job and not row.num_slow}
        if jobs:
            wait(jobs, MAX_WAIT_S)
        if bound and len(bound) == len(rows_B) and not any(row.is_ready for _, row in bound):
            waiting: set[Future[Any]] = {row.mask_job or row.root.future for _, row in bound}
            wait(waiting, MAX_WAIT_S, FIRST_COMPLETED)  # nobody else can draw
        for index, row in bound:
            if row.root.is_condemned or row.has_failed:
                verdicts.refused.append(index)
            elif not row.is_ready:
                verdicts.late.append(index)
            elif row.forced:
                verdicts.forced[index], row.forced = row.forced, []
        return verdicts

    def out(self, rows_C: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which tokens each of these bound rows may not take next: [C, V]. Waits for them."""
        masks = []
        for index in rows_C.tolist():
            row = self._rows[index]
            if row.mask_job is None:
                wait([row.root.future])
                self._begin([(row, None)])
            assert row.mask_job is not None
            row.mask_job.result()
            masks.append(row.out_V if row.out_V is not None else self._compiler.opened.nothing)
        return np.stack(masks)

    def note(self, rows_B: npt.NDArray[np.int64], token_ids_B: npt.NDArray[np.int64]) -> None:
        """The rows have got these tokens; below 0: none."""
        self._begin(
            [
                (row, int(token_ids_B[index]))
                for index, row in self._bound(rows_B)
                if token_ids_B[index] >= 0
            ]
        )

    def force(self, rows_B: npt.NDArray[np.int64]) -> dict[int, list[int]]:
        """By index in `rows_B`: the tokens that can only follow now, as far as they are found in a
        moment; the others come with a later step's verdicts."""
        bound = self._bound(rows_B)
        wait(
            {row.advance_job for _, row in bound if row.advance_job and not row.num_slow},
            MAX_WAIT_S,
        )
        forced: dict[int, list[int]] = {}
        for index, row in bound:
            if row.advance_job is not None and row.advance_job.done() and row.forced:
                forced[index], row.forced = row.forced, []
        return forced

    def _bound(self, rows_B: npt.NDArray[np.int64]) -> list[tuple[int, _Row]]:
        places = np.flatnonzero(self.is_bound[rows_B]).tolist()
        return [(place, self._rows[int(rows_B[place])]) for place in places]

    def _begin(self, work: list[tuple[_Row, int | None]]) -> None:
        """Do it on the threads: the usual rows together, the watched ones each for itself."""
        for row, _ in work:  # whoever begins has nothing running: the last mask is not the next one
            row.out_V = None
        usual = [(row, token_id) for row, token_id in work if not row.num_slow]
        if usual:
            advance_job = self._usual.submit(self._advance, usual)
            mask_job = self._usual.submit(self._make_masks, [row for row, _ in usual])
            for row, _ in usual:
                row.advance_job, row.mask_job = advance_job, mask_job
        for row, token_id in work:
            if row.num_slow:
                row.advance_job = row.mask_job = self._watched.submit(self._watch, row, token_id)

    def _advance(self, work: list[tuple[_Row, int | None]]) -> None:
        """Each row by itself; the time counts `HELD_WEIGHT` times, for nobody else runs meanwhile."""
        for row, token_id in work:
            begun_s = time.thread_time()
            row.advance(self._compiler.opened, token_id)
            spent_s = time.thread_time() - begun_s
            row.root.spend(HELD_WEIGHT * spent_s)
            if spent_s > MAX_BATCH_S:
                row.num_slow = NUM_QUICK

    def _make_masks(self, rows: list[_Row]) -> None:
        """One call for all: each would wait for the interpreter. Too slow together, they are looked
        at one by one from now on."""
        begun_s = time.monotonic()
        standing = [row for row in rows if row.matcher is not None]
        allowed = self._compiler.opened.allowed([row.matcher for row in standing])  # type: ignore[misc]
        for row, allowed_V in zip(standing, allowed, strict=True):
            row.take_mask(allowed_V)
        if time.monotonic() - begun_s > MAX_BATCH_S:
            for row in rows:
                row.num_slow = NUM_QUICK

    def _watch(self, row: _Row, token_id: int | None) -> None:
        """One row's share, which its grammar pays for."""
        self._advance([(row, token_id)])
        begun_s = time.thread_time()
        if row.matcher is not None and not row.root.is_condemned:
            row.take_mask(self._compiler.opened.allowed_by(row.matcher))
        spent_s = time.thread_time() - begun_s
        row.root.spend(spent_s)
        row.root.is_heavy |= spent_s > MAX_BATCH_S
        row.num_slow = NUM_QUICK if spent_s > MAX_BATCH_S else max(row.num_slow - 1, 0)
