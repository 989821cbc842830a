"""`ModelRunner`: runs a step's plan on the device. Its caller is the one device thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine.batch import make_batch
from engine.sampling.sampler import sample
from engine.step import StepResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.kv_tensors import KVTensors
    from engine.step import StepPlan


class ModelRunner:
    """An unmodified Hugging Face causal model over a paged cache."""

    def __init__(self, model: Callable[..., Any], cache: KVTensors, device: torch.device) -> None:
        self._model = model
        self._cache = cache
        self._device = device

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        """Compute the plan's tokens into the cache and sample where the plan says so."""
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
        sampled = sample(output.logits[0].float(), sampling)
        for sequence, token_id in zip(sampling, sampled, strict=True):
            if token_id is None:
                self._cache.clear(sequence.block_table)
        return StepResult(sampled)
