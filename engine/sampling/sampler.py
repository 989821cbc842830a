"""`Sampler`: logits and a number from [0, 1) give a token, for each row of a step.

A row's token depends on that row alone: on its logits, its request, what it has said so far, and a
number that is keyed by seed, sample and position.

Shapes: B sampling sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import torch

from engine.protocol import TokenLogprobs
from engine.sampling import logprobs
from engine.sampling.chunks import Chunks
from engine.sampling.filters import (
    NUM_CANDIDATES,
    UNRESOLVED,
    Draws,
    pick,
    pick_among_all,
    pick_among_top,
    pick_with_min_p,
)
from engine.sampling.logit_changes import LogitChanges
from engine.sampling.row_settings import RowSettings, Way
from engine.structured.row_grammars import RowGrammars

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from engine.step import RowStart
    from engine.structured.row_grammars import Verdicts
    from engine.structured.vocabulary import Vocabulary

_NOTHING = -1
"""In place of a token: the logits were not finite, or every token is banned."""

_SLICE_ON_CPU = 1 << 20
"""Logits that are handled at once: a few passes over them stay in the cache."""

_SLICE_ON_DEVICE = 1 << 26
_SLICE_SORTED = 1 << 22


class Sampled(msgspec.Struct, frozen=True, gc=False):
    """`token_ids` has an entry for each row: None where the logits were not finite, or every token
    is banned. `logprobs` is empty if nobody asked, or has an entry for each row."""

    token_ids: list[int | None]
    logprobs: list[TokenLogprobs | None] = []


class _Step(NamedTuple):
    """What one step asks for."""

    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]


class _Group(NamedTuple):
    """Rows that go the same way, by their index in the step."""

    at: npt.NDArray[np.int64]
    way: Way
    is_changed: bool


class Sampler:
    """Draws tokens for a batch with a fixed number of rows; keeps what belongs to a row."""

    def __init__(
        self,
        num_rows: int,
        vocab_size: int,
        device: torch.device,
        vocabulary: Vocabulary | None = None,
        *,
        takes_forced: bool = False,
    ) -> None:
        """Without a `vocabulary` no row may have a grammar. With `takes_forced` the caller calls
        `force` after each `sample`, and takes what it gives."""
        self._vocab_size = vocab_size
        self._device = device
        self._settings = RowSettings(num_rows, vocab_size)
        self._changes = LogitChanges(
            num_rows, vocab_size, device, RowGrammars(num_rows, vocabulary, takes_forced)
        )
        slice_size = _SLICE_ON_CPU if device.type == "cpu" else _SLICE_ON_DEVICE
        self._slice_rows = max(1, slice_size // vocab_size)
        self._greedy = Chunks(vocab_size, 128)

    @torch.inference_mode()
    def start(self, start: RowStart) -> None:
        """A sequence takes the row `start.row`; what the row was before is forgotten."""
        self._settings.start(start)
        self._changes.start(start)

    def prepare(self, rows_B: npt.NDArray[np.int64]) -> None:
        """Begin what can be done before the logits of these rows are there, beside the caller."""
        self._changes.prepare(rows_B)

    def judge(self, rows_B: npt.NDArray[np.int64]) -> Verdicts:
        """Which of the rows cannot draw in this step; `sample` would wait for them."""
        return self._changes.judge(rows_B)

    def force(self, rows_B: npt.NDArray[np.int64]) -> dict[int, list[int]]:
        """By index: the tokens that can only follow what `sample` has drawn, noted as theirs."""
        return self._changes.force(rows_B)

    @torch.inference_mode()
    def sample(
        self,
        logits_BV: torch.Tensor,
        rows: Sequence[int] | npt.NDArray[np.int64],
        positions: Sequence[int] | npt.NDArray[np.int64],
    ) -> Sampled:
        """Draw the next token of each row and note it. The host waits for the device once; again
        only where top-p takes more than `NUM_CANDIDATES` tokens or equal logits are too many.

        Args:
            logits_BV: floating point, one row for each of `rows`; not changed.
            rows: rows of the batch that were started, each at most once.
            positions: of the tokens to be drawn: how many tokens each row's sequence has.
        """
        rows_B = np.asarray(rows, np.int64)
        positions_B = np.asarray(positions, np.int64)
        if len(rows_B) == 0:
            return Sampled([])
        step = _Step(rows_B, positions_B)
        tokens_B = torch.empty(len(rows_B), dtype=torch.int64, device=self._device)
        for group in self._groups(step):
            self._pick(logits_BV, step, group, tokens_B)
        num_tops = self._settings.num_logprobs(rows_B)
        asking = np.flatnonzero(num_tops >= 0)
        fetched = self._fetch(logits_BV, tokens_B, asking, num_tops)
        missing = fetched[0] == UNRESOLVED
        if missing.any():
            self._pick_missing(logits_BV, step, missing, tokens_B)
            fetched = self._fetch(logits_BV, tokens_B, asking, num_tops)
        tokens, scores = fetched
        self._changes.note(rows_B, tokens)
        token_ids = [token if token >= 0 else None for token in tokens.tolist()]
        if len(asking) == 0:
            return Sampled(token_ids)
        entries: list[TokenLogprobs | None] = [None] * len(token_ids)
        of_asking = self._read(logits_BV, asking, tokens[asking], scores, num_tops[asking])
        for index, entry in zip(asking.tolist(), of_asking, strict=True):
            entries[index] = entry if token_ids[index] is not None else None
        return Sampled(token_ids, entries)

    @torch.inference_mode()
    def score(
        self, logits_TV: torch.Tensor, token_ids: Sequence[int], num_top: int
    ) -> list[TokenLogprobs]:
        """Log-probabilities of given tokens, each predicted by its row of logits, and of the
        `num_top` likeliest in its place."""
        tokens = np.asarray(token_ids, np.int64)
        if len(tokens) == 0:
            return []
        at = np.arange(len(tokens))
        scores = self._score(logits_TV, at, self._to_device(tokens), num_top).cpu().numpy()
        return self._read(logits_TV, at, tokens, scores, np.full(len(tokens), num_top))

    def _groups(self, step: _Step) -> Iterator[_Group]:
        is_changed = self._changes.are_due(step.rows, step.positions)
        keys = self._settings.ways(step.rows) * 2 + is_changed
        if (keys == keys[0]).all():
            yield _Group(np.arange(len(keys)), Way(keys[0] // 2), bool(keys[0] % 2))
            return
        order = np.argsort(keys, kind="stable")
        borders = np.flatnonzero(np.diff(keys[order])) + 1
        for at in np.split(order, borders):
            key = int(keys[at[0]])
            yield _Group(at, Way(key // 2), bool(key % 2))

    def _slices(
        self, logits_BV: torch.Tensor, at: npt.NDArray[np.int64], num_rows: int, *, copy: bool
    ) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
        """Some of the logits' rows, rising, a few at a time, in float32. With `copy` they may be
        changed; without, neighbours are not copied if they are in float32 already."""
        for first in range(0, len(at), num_rows):
            part = at[first : first + num_rows]
            start, end = int(part[0]), int(part[-1]) + 1
            if end - start == len(part):  # they rise
                logits = logits_BV[start:end]
                logits = logits.to(torch.float32, copy=copy, memory_format=torch.contiguous_format)
            else:
                logits = logits_BV[self._to_device(part)].float()
            yield part, logits

    def _pick(
        self, logits_BV: torch.Tensor, step: _Step, group: _Group, tokens_B: torch.Tensor
    ) -> None:
        """Write the tokens of a group's rows into `tokens_B`."""
        num_rows = self._slice_rows
        for at, logits in self._slices(logits_BV, group.at, num_rows, copy=group.is_changed):
            is_good = None
            if group.is_changed:
                is_good = logits.amax(dim=-1).isfinite()
                self._changes.apply(logits, step.rows[at], step.positions[at])
            if group.way is Way.GREEDY:
                peak, tokens = self._greedy.argmax(logits)
            else:
                peak = logits.amax(dim=-1)
                draws = self._settings.draws(step.rows[at], step.positions[at])
                tokens = self._draw(logits, peak, draws, group.way)
            # An id outside of the vocabulary would break the next step for everybody in it.
            is_drawn = peak.isfinite() if is_good is None else peak.isfinite() & is_good
            tokens_B[self._to_device(at)] = tokens.where(is_drawn, _NOTHING)

    def _draw(
        self,
        logits_BV: torch.Tensor,
        peak_B: torch.Tensor,
        draws: npt.NDArray[np.float64],
        way: Way,
    ) -> torch.Tensor:
        on_device = Draws(*self._to_device(draws))
        if way is Way.PLAIN:
            return pick(logits_BV, peak_B, on_device)
        if way is Way.MIN_P:
            return pick_with_min_p(logits_BV, peak_B, on_device)
        if way is Way.TOP_K:
            num_candidates = int(draws[2].max()) + 1
            return pick_among_top(logits_BV, peak_B, on_device, num_candidates, is_small=True)
        if way is Way.TOP_P:
            return pick_among_top(logits_BV, peak_B, on_device, NUM_CANDIDATES, is_small=False)
        return pick_among_all(logits_BV, peak_B, on_device)

    def _pick_missing(
        self,
        logits_BV: torch.Tensor,
        step: _Step,
        missing: npt.NDArray[np.bool_],
        tokens_B: torch.Tensor,
    ) -> None:
        """The rows for which the candidates were not enough."""
        at = np.flatnonzero(missing)
        is_changed = self._changes.are_due(step.rows[at], step.positions[at])
        for changed in (False, True):
            if (is_changed == changed).any():
                group = _Group(at[is_changed == changed], Way.LARGE_TOP_K, changed)
                self._pick(logits_BV, step, group, tokens_B)

    def _fetch(
        self,
        logits_BV: torch.Tensor,
        tokens_B: torch.Tensor,
        asking: npt.NDArray[np.int64],
        num_tops: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Tokens and the scores of those that ask, in one transfer."""
        if len(asking) == 0:
            return tokens_B.cpu().numpy(), np.zeros((0, 2))
        tokens = tokens_B[self._to_device(asking)]
        scores = self._score(logits_BV, asking, tokens, int(num_tops.max()))
        packed = torch.cat([tokens_B.double(), scores.flatten()]).cpu().numpy()
        split = len(tokens_B)
        return packed[:split].astype(np.int64), packed[split:].reshape(len(asking), -1)

    def _score(
        self,
        logits_BV: torch.Tensor,
        at: npt.NDArray[np.int64],
        tokens: torch.Tensor,
        num_top: int,
        *,
        in_full: bool = False,
    ) -> torch.Tensor:
        num_rows = self._slice_rows
        if in_full:
            num_rows = max(1, min(num_rows, _SLICE_SORTED // self._vocab_size))
        scores: list[torch.Tensor] = []
        done = 0
        for part, logits in self._slices(logits_BV, at, num_rows, copy=False):
            of_part = tokens[done : done + len(part)]
            scores.append(logprobs.score(logits, of_part, num_top, in_full=in_full))
            done += len(part)
        return torch.cat(scores)

    def _read(
        self,
        logits_BV: torch.Tensor,
        at: npt.NDArray[np.int64],
        tokens: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        num_tops: npt.NDArray[np.int64],
    ) -> list[TokenLogprobs]:
        wrong = np.flatnonzero(scores[:, 1] == 0)
        if len(wrong):
            on_device = self._to_device(tokens[wrong])
            num_top = int(num_tops.max())
            again = self._score(logits_BV, at[wrong], on_device, num_top, in_full=True)
            scores[wrong] = again.cpu().numpy()
        return logprobs.read(scores, tokens.tolist(), num_tops.tolist())

    def _to_device(self, array: npt.NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
