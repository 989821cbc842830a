"""`ModelRunner`: runs a step's plan on the device. Its caller is the one device thread."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engine.batch import BatchMaker
from engine.protocol import SamplingParams, TokenLogprobs
from engine.sampling.sampler import Sampler
from engine.step import RowStart, StepPlan, StepResult, TableChange

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.attention.base import AttentionBackend
    from engine.batch import Batch
    from engine.structured.vocabulary import Vocabulary


class ModelRunner:
    """An unmodified Hugging Face causal model over a paged cache.

    The batch has one row more than there are running sequences: the last is the probe's.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        attention: AttentionBackend,
        device: torch.device,
        *,
        num_rows: int,
        vocab_size: int,
        max_model_len: int,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self._model = model
        self._attention = attention
        self._cache = cache = attention.cache
        self._device = device
        self._num_rows = num_rows
        self._batches = BatchMaker(
            cache, num_rows=num_rows + 1, max_model_len=max_model_len, device=device
        )
        self._sampler = Sampler(num_rows + 1, vocab_size, device, vocabulary, takes_forced=True)
        self._scored: dict[int, RowStart] = {}

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        """Compute the plan's tokens into the cache and sample where the plan says so."""
        self._note(plan)
        batch = self._batches.make(plan)
        step = batch.step
        draws_S = np.asarray(plan.draws) > 0
        self._sampler.prepare(batch.rows_S[draws_S])
        kept_K = step.ends_S[draws_S]
        scored = (
            [i for i, row in enumerate(plan.rows) if row in self._scored] if self._scored else []
        )
        for index in scored:
            end = step.ends_S[index] + 1
            kept_K = np.union1d(kept_K, np.arange(end - step.counts_S[index], end))
        # Without a wanted row the logits of none are; 1 is the least there is.
        rows = torch.from_numpy(kept_K).to(self._device) if len(kept_K) else 1
        logits_KV = self._model(
            input_ids=batch.input_ids_1T,
            position_ids=batch.position_ids_1T,
            use_cache=False,
            logits_to_keep=rows,
            kvorum=self._attention.begin(step),
        ).logits[0]
        prompt_logprobs = self._score(plan, batch, scored, kept_K, logits_KV)
        planned = np.flatnonzero(draws_S)
        verdicts = self._sampler.judge(batch.rows_S[planned])
        late, refused = (planned[which].tolist() for which in (verdicts.late, verdicts.refused))
        forced = {int(planned[i]): ids for i, ids in verdicts.forced.items()}
        without_draw = [*late, *refused, *forced]
        drawing = np.setdiff1d(planned, without_draw) if without_draw else planned
        if not len(drawing):
            return StepResult([], [], prompt_logprobs, forced, without_draw, late, refused)
        if len(drawing) < len(kept_K):
            of_drawing = np.searchsorted(kept_K, step.ends_S[drawing])
            logits_KV = logits_KV[torch.from_numpy(of_drawing).to(self._device)]
        rows_B = batch.rows_S[drawing]
        positions_B = step.starts_S[drawing] + step.counts_S[drawing]
        sampled = self._sampler.sample(logits_KV, rows_B, positions_B)
        forced |= {int(drawing[i]): ids for i, ids in self._sampler.force(rows_B).items()}
        token_ids, logprobs = sampled.token_ids, sampled.logprobs
        return StepResult(token_ids, logprobs, prompt_logprobs, forced, without_draw, late, refused)

    def probe(self) -> None:
        """A prefill of two tokens and a decode of one, into the blocks that are nobody's. Also
        warms up: the first user does not wait for what torch sets up at its first call."""
        row = self._num_rows
        params = SamplingParams(2, temperature=1.0, top_p=1.0, top_k=0, seed=0)
        start = RowStart(row, params, 0, [0, 0], 2, scores_prompt=False)
        changes = [
            TableChange(group, row, 0, [scratch])
            for group, scratch in enumerate(self._cache.scratch_blocks)
        ]
        prefill = StepPlan(_ints(row), _ints(0), _ints(2), _ints(1), _ints(0, 0), [start], changes)
        self.execute(prefill)
        self.execute(StepPlan(_ints(row), _ints(0), _ints(1), _ints(1), _ints(0)))
        # Padding reads these blocks: what the probe left must not reach anybody.
        self._cache.prepare([], list(enumerate(self._cache.scratch_blocks)))

    def _note(self, plan: StepPlan) -> None:
        self._batches.note(plan)
        for start in plan.row_starts:
            self._sampler.start(start)
            self._scored.pop(start.row, None)
            if start.scores_prompt:
                self._scored[start.row] = start
        if plan.copies or plan.dirty_blocks:
            self._cache.prepare(plan.copies, plan.dirty_blocks)

    def _score(
        self,
        plan: StepPlan,
        batch: Batch,
        scored: list[int],
        kept_K: np.ndarray[Any, np.dtype[np.int64]],
        logits_KV: torch.Tensor,
    ) -> dict[int, list[TokenLogprobs]]:
        """Log-probabilities of the prompt's tokens that follow those of this step."""
        scores: dict[int, list[TokenLogprobs]] = {}
        for index in scored:
            start = self._scored[plan.rows[index]]
            first = plan.starts[index]
            following = start.token_ids[first + 1 : first + plan.counts[index] + 1]
            offset = int(np.searchsorted(kept_K, batch.step.ends_S[index] - plan.counts[index] + 1))
            logits_TV = logits_KV[offset : offset + len(following)]
            num_top = start.params.num_prompt_logprobs or 0
            scores[index] = self._sampler.score(logits_TV, following, num_top)
            if plan.draws[index]:
                del self._scored[start.row]
        return scores


def _ints(*values: int) -> array[int]:
    return array("q", values)
