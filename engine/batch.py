"""`BatchMaker`: from a step's plan to tensors, all tokens packed into one row.

What belongs to a row of the batch lies in numpy arrays that are updated in place, so a step costs
a few operations on whole arrays and none in Python for each sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from engine.attention.base import GroupStep, PackedStep

if TYPE_CHECKING:
    from engine.attention.base import Ints
    from engine.kv_tensors import KVTensors
    from engine.step import StepPlan


class Batch(NamedTuple):
    """T tokens of a step, and which row each of its S sequences has."""

    input_ids_1T: torch.Tensor
    position_ids_1T: torch.Tensor
    rows_S: Ints
    step: PackedStep


class BatchMaker:
    """Holds the block tables of all rows, in every group of layers."""

    def __init__(
        self, cache: KVTensors, *, num_rows: int, max_model_len: int, device: torch.device
    ) -> None:
        self._block_size = cache.block_size
        self._scratch_blocks = cache.scratch_blocks
        self._device = device
        self._numbers = np.arange(num_rows)
        num_blocks = -(-max_model_len // cache.block_size) + 1
        self._tables = [
            np.full((num_rows, num_blocks), scratch, dtype=np.int32)
            for scratch in cache.scratch_blocks
        ]

    def note(self, plan: StepPlan) -> None:
        """Take in who has a row now and which blocks it got. An entry that is not set names the
        scratch block, never one of the row's owner before."""
        for start in plan.row_starts:
            for table, scratch in zip(self._tables, self._scratch_blocks, strict=True):
                table[start.row] = scratch
        for change in plan.table_changes:
            if len(change.blocks) == 1:  # decoding; an item costs a third of a slice
                self._tables[change.group][change.row, change.index] = change.blocks[0]
                continue
            end = change.index + len(change.blocks)
            self._tables[change.group][change.row, change.index : end] = change.blocks

    def make(self, plan: StepPlan) -> Batch:
        """Tensors for a plan of at least one token."""
        rows_S, starts_S = np.asarray(plan.rows), np.asarray(plan.starts)
        num_tokens, num_sequences = plan.num_tokens, len(rows_S)
        counts_S = np.asarray(plan.counts)
        if num_tokens == num_sequences:
            ends_S = self._numbers[:num_sequences]
            rows_T, positions_T = rows_S, starts_S
            num_decoding = num_sequences
        else:
            ends_S = counts_S.cumsum() - 1
            rows_T = np.repeat(rows_S, counts_S)
            positions_T = np.arange(num_tokens) + np.repeat(
                starts_S - ends_S + counts_S - 1, counts_S
            )
            num_decoding = int((counts_S > 1).argmax())
        indices_T, offsets_T = np.divmod(positions_T, self._block_size)
        width = int(indices_T.max()) + 1
        groups = [
            GroupStep(
                table[rows_T, indices_T] * self._block_size + offsets_T, table[rows_S, :width]
            )
            for table in self._tables
        ]
        return Batch(
            input_ids_1T=self._ints(np.asarray(plan.token_ids))[None],
            position_ids_1T=self._ints(positions_T)[None],
            rows_S=rows_S,
            step=PackedStep(starts_S, counts_S, ends_S, num_decoding, positions_T, groups),
        )

    def _ints(self, values: Ints) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor if self._device.type == "cpu" else tensor.to(self._device)
