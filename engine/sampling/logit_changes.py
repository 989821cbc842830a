"""`LogitChanges`: what a request does to its logits before they are weighed.

Allowed and banned tokens, bias, stop tokens before `min_tokens`, repetition, presence and frequency
penalty, in that order. All are applied to lists of tokens, at the cost of their length.
Shapes: C rows with changes, P of them penalised, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from engine.sampling.token_counts import TokenCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from engine.protocol import SamplingParams
    from engine.step import RowStart
    from engine.structured.row_grammars import RowGrammars, Verdicts

_MAX_FLOAT = float(torch.finfo(torch.float32).max)
_BOUND = 1e30
"""Of bias and penalties: finite in float32, and so is what they are multiplied to."""


class _Lists(NamedTuple):
    """The tokens that a row's request names, within the vocabulary."""

    allowed: npt.NDArray[np.int64] | None
    banned: npt.NDArray[np.int64]
    bias_ids: npt.NDArray[np.int64]
    bias: npt.NDArray[np.float32]
    stops: npt.NDArray[np.int64]

    @property
    def are_always_due(self) -> bool:
        num_listed = len(self.banned) + len(self.bias)
        return self.allowed is not None or num_listed > 0


class LogitChanges:
    """The changes of each row that has any; the others are not touched."""

    def __init__(
        self, num_rows: int, vocab_size: int, device: torch.device, grammars: RowGrammars
    ) -> None:
        self._vocab_size = vocab_size
        self._grammars = grammars
        self._device = device
        self._lists: dict[int, _Lists] = {}
        self._counts = TokenCounts(num_rows, vocab_size, device)
        self._is_changed = np.zeros(num_rows, bool)
        self._stops_from = np.zeros(num_rows, np.int64)
        self._penalties = np.zeros((3, num_rows), np.float32)  # repetition, presence, frequency

    def start(self, start: RowStart) -> None:
        """A sequence takes the row `start.row`; its tokens so far are counted if need be."""
        params, row = start.params, start.row
        self._grammars.start(start)
        lists = self._read_lists(params)
        if lists.are_always_due or len(lists.stops):
            self._lists[row] = lists
        else:
            self._lists.pop(row, None)
        penalties = (params.repetition_penalty, params.presence_penalty, params.frequency_penalty)
        if penalties == (1.0, 0.0, 0.0):
            self._counts.drop(row)
        else:
            repetition = min(max(penalties[0], 1e-6), 1e6)
            additive = [min(max(penalty, -_BOUND), _BOUND) for penalty in penalties[1:]]
            self._penalties[:, row] = repetition, *additive
            border = start.num_prompt_tokens
            prompt = start.token_ids[:border] if repetition != 1 else []
            self._counts.start(row, prompt, start.token_ids[border:])
        has_stops = params.min_tokens > 0 and len(lists.stops) > 0
        self._stops_from[row] = start.num_prompt_tokens + params.min_tokens if has_stops else 0
        self._is_changed[row] = (
            lists.are_always_due or penalties != (1.0, 0.0, 0.0) or bool(params.grammar)
        )

    def prepare(self, rows_B: npt.NDArray[np.int64]) -> None:
        """Begin what can be done for these rows before their logits are there."""
        self._grammars.prepare(rows_B)

    def judge(self, rows_B: npt.NDArray[np.int64]) -> Verdicts:
        """Which of the rows cannot draw, for the sake of their grammars."""
        return self._grammars.judge(rows_B)

    def are_due(
        self, rows_B: npt.NDArray[np.int64], positions_B: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Which of the rows have their logits changed at these positions."""
        is_due: npt.NDArray[np.bool_] = self._is_changed[rows_B]
        return is_due | (positions_B < self._stops_from[rows_B])

    def apply(
        self,
        logits_CV: torch.Tensor,
        rows_C: npt.NDArray[np.int64],
        positions_C: npt.NDArray[np.int64],
    ) -> None:
        """Change the logits, contiguous float32, in place."""
        is_bound = self._grammars.is_bound[rows_C]
        if is_bound.any():
            self._confine(logits_CV, np.flatnonzero(is_bound), rows_C[is_bound])
        are_early = (positions_C < self._stops_from[rows_C]).tolist()
        lists = [
            (index, self._lists[row], is_early)
            for index, (row, is_early) in enumerate(zip(rows_C.tolist(), are_early, strict=True))
            if row in self._lists
        ]
        if lists:
            self._apply_lists(logits_CV, lists)
        is_penalised = self._counts.are_counted(rows_C)
        if is_penalised.any():
            self._penalise(logits_CV, np.flatnonzero(is_penalised), rows_C[is_penalised])

    def note(self, rows_B: npt.NDArray[np.int64], token_ids_B: npt.NDArray[np.int64]) -> None:
        """The rows have got these tokens; below 0: none."""
        self._counts.note(rows_B, token_ids_B)
        self._grammars.note(rows_B, token_ids_B)

    def force(self, rows_B: npt.NDArray[np.int64]) -> dict[int, list[int]]:
        """By index: the tokens that can only follow what the rows have got, noted as theirs."""
        forced = self._grammars.force(rows_B)
        for index, token_ids in forced.items():
            rows = np.full(len(token_ids), rows_B[index])
            self._counts.note(rows, np.asarray(token_ids, np.int64))
        return forced

    def _confine(
        self, logits_CV: torch.Tensor, at: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> None:
        """Leave only what the rows' grammars allow."""
        is_out = torch.from_numpy(self._grammars.out(rows)).to(self._device)
        for index, out_V in zip(at.tolist(), is_out, strict=True):
            logits_CV[index, : len(out_V)].masked_fill_(out_V, -torch.inf)

    def _read_lists(self, params: SamplingParams) -> _Lists:
        bias = np.zeros(0, np.float32)
        bias_ids = np.zeros(0, np.int64)
        if params.logit_bias:
            sums: dict[int, float] = {}
            for token, value in params.logit_bias:
                if 0 <= token < self._vocab_size:
                    sums[token] = min(max(sums.get(token, 0.0) + value, -_BOUND), _BOUND)
            bias_ids = np.fromiter(sums.keys(), np.int64)
            bias = np.fromiter(sums.values(), np.float32)
        return _Lists(
            self._known(params.allowed_token_ids) if params.allowed_token_ids else None,
            self._known(params.banned_token_ids),
            bias_ids,
            bias,
            self._known(params.stop_token_ids) if params.min_tokens > 0 else bias_ids[:0],
        )

    def _known(self, token_ids: Sequence[int]) -> npt.NDArray[np.int64]:
        ids = np.asarray(token_ids, np.int64)
        return ids[(ids >= 0) & (ids < self._vocab_size)]

    def _apply_lists(self, logits_CV: torch.Tensor, lists: list[tuple[int, _Lists, bool]]) -> None:
        """`lists`: index into the logits, and whether stop tokens come too early yet."""
        flat = logits_CV.view(-1)
        only = [(index, row.allowed) for index, row, _ in lists if row.allowed is not None]
        if only:
            kept = self._flat(only)
            values = flat[kept]
            at = torch.tensor([index for index, _ in only], device=self._device)
            logits_CV.index_fill_(0, at, -torch.inf)
            flat[kept] = values
        biased = [(index, row.bias_ids) for index, row, _ in lists if len(row.bias)]
        if biased:
            bias = np.concatenate([row.bias for _, row, _ in lists])
            flat[self._flat(biased)] += torch.from_numpy(bias).to(self._device)
        banned = [(index, row.banned) for index, row, _ in lists if len(row.banned)]
        banned += [(index, row.stops) for index, row, is_early in lists if is_early]
        if banned:
            flat.index_fill_(0, self._flat(banned), -torch.inf)

    def _flat(self, lists: list[tuple[int, npt.NDArray[np.int64]]]) -> torch.Tensor:
        """Where the tokens of some rows lie in the flat logits."""
        ids = np.concatenate([index * self._vocab_size + ids for index, ids in lists])
        return torch.from_numpy(ids).to(self._device)

    def _penalise(
        self,
        logits_CV: torch.Tensor,
        at_P: npt.NDArray[np.int64],
        rows_P: npt.NDArray[np.int64],
    ) -> None:
        """Repetition as in the CTRL paper (Keskar et al. 2019); presence and frequency as OpenAI's.

        What is finite stays finite: an overflow would end the row.
        """
        numbers = torch.from_numpy(self._penalties[:, rows_P]).to(self._device)
        repetition, presence, frequency = numbers[:, :, None]
        ids, counts, is_token = self._counts.read(rows_P)
        at = torch.from_numpy(at_P).to(self._device)[:, None] * self._vocab_size + ids
        flat = logits_CV.view(-1)
        old = flat[at]
        new = torch.where(old < 0, old * repetition, old / repetition)
        new = new.clamp_(-_MAX_FLOAT, _MAX_FLOAT)
        new = new.sub_(counts * frequency).sub_((counts > 0) * presence)
        new = new.where(is_token & (old > -torch.inf), old)
        # A place without a token repeats the first one's: written more than once, but the same.
        flat[at] = new.where(is_token, new[:, :1])
