"""`ModelRunner`: runs a step's plan on the device. Its caller is the one device thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine.batch import make_batch
from engine.sampling.sampler import sample
from engine.step import ScheduledSequence, StepPlan, StepResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.kv_tensors import KVTensors


class ModelRunner:
    """An unmodified Hugging Face causal model over a paged cache."""

    def __init__(self, model: Callable[..., Any], cache: KVTensors, device: torch.device) -> None:
        self._model = model
        self._cache = cache
        self._device = device

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        """Compute the plan's tokens into the cache and sample where the plan says so."""
        if plan.dirty_blocks:
            self._cache.clear(plan.dirty_blocks)
        batch = make_batch(plan, self._cache, self._device)
        sampling = [sequence for sequence in plan.sequences if sequence.samples]
        # Without a sampling sequence the logits of no row are wanted; 1 is the least there is.
        rows = batch.last_rows_B if sampling else 1
        output = self._model(
            input_ids=batch.input_ids_1T,
            position_ids=batch.position_ids_1T,
            use_cache=False,
            logits_to_keep=rows,
            kvorum=batch.attention,
        )
        if not sampling:
            return StepResult(())
        return StepResult(sample(output.logits[0].float(), sampling))

    def probe(self) -> None:
        """A prefill of two tokens and a decode of one, into the block that is nobody's. Also warms
        up: the first user does not wait for what torch sets up at its first call."""
        for token_ids in ([0, 0], [0]):
            block_table = [self._cache.scratch_block]
            sequence = ScheduledSequence("", token_ids, 0, block_table, True, 1.0, 1.0, 0, 0)
            self.execute(StepPlan((sequence,)))
