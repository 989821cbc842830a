"""`BatchMaker`: from a step's plan to tensors, all tokens packed into one row.

What belongs to a row of the batch lies in numpy arrays that are updated in place, so a step costs
a few operations on whole arrays and none in Python for each sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from engine.attention.paged_sdpa import GatheredRows, GroupRows, PagedSdpa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.kv_tensors import KVTensors
    from engine.step import StepPlan

    Ints = NDArray[np.int64]


class Batch(NamedTuple):
    """T tokens of a step. `ends_S` has, for each of its S sequences, the index of its last token
    in the packed row, on the host; `starts_S` the position of its first one."""

    input_ids_1T: torch.Tensor
    position_ids_1T: torch.Tensor
    rows_S: Ints
    starts_S: Ints
    counts_S: Ints
    ends_S: Ints
    attention: PagedSdpa


class BatchMaker:
    """Holds the block tables of all rows, in every group of layers."""

    def __init__(
        self, cache: KVTensors, *, num_rows: int, max_model_len: int, device: torch.device
    ) -> None:
        self._cache = cache
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
            for table, scratch in zip(self._tables, self._cache.scratch_blocks, strict=True):
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
        if num_tokens == num_sequences:
            counts_S, ends_S = np.asarray(plan.counts), self._numbers[:num_sequences]
            rows_T, positions_T = rows_S, starts_S
            num_decoding = num_sequences
        else:
            counts_S = np.asarray(plan.counts)
            ends_S = counts_S.cumsum() - 1
            rows_T = np.repeat(rows_S, counts_S)
            positions_T = np.arange(num_tokens) + np.repeat(
                starts_S - ends_S + counts_S - 1, counts_S
            )
            num_decoding = int((counts_S > 1).argmax())
        indices_T, offsets_T = np.divmod(positions_T, self._cache.block_size)
        batch = Batch(
            input_ids_1T=self._ints(np.asarray(plan.token_ids))[None],
            position_ids_1T=self._ints(positions_T)[None],
            rows_S=rows_S,
            starts_S=starts_S,
            counts_S=counts_S,
            ends_S=ends_S,
            attention=PagedSdpa(self._cache, groups := []),
        )
        for group, table in enumerate(self._tables):
            slots_T = table[rows_T, indices_T] * self._cache.block_size + offsets_T
            decode = None
            if num_decoding:
                firsts = slice(0, num_decoding)
                decode = self._gathered(
                    group,
                    firsts,
                    rows_S[firsts],
                    starts_S[firsts],
                    indices_T[firsts],
                    positions_T[firsts, None],
                )
            chunks = [
                self._gathered(
                    group,
                    tokens := slice(end + 1 - count, end + 1),
                    rows_S[index : index + 1],
                    starts_S[index : index + 1],
                    indices_T[end : end + 1],
                    positions_T[None, tokens],
                )
                for index, (end, count) in enumerate(
                    zip(ends_S[num_decoding:], counts_S[num_decoding:], strict=True), num_decoding
                )
            ]
            groups.append(GroupRows(self._ints(slots_T), decode, chunks))
        return batch

    def _gathered(
        self,
        group: int,
        tokens: slice,
        rows_B: Ints,
        starts_B: Ints,
        lasts_B: Ints,
        positions_BT: Ints,
    ) -> GatheredRows:
        """The blocks from the first that these tokens see to the one of index `lasts_B`."""
        size, window = self._cache.block_size, self._cache.windows[group]
        table = self._tables[group]
        if window is None:
            blocks_BN = table[rows_B, : lasts_B.max() + 1]
            return GatheredRows(
                tokens, self._ints(blocks_BN), None, self._ints(positions_BT), window, size
            )
        firsts_B = np.maximum(starts_B - window + 1, 0) // size
        columns_BN = firsts_B[:, None] + np.arange((lasts_B - firsts_B).max() + 1)
        blocks_BN = table[rows_B[:, None], np.minimum(columns_BN, table.shape[1] - 1)]
        return GatheredRows(
            tokens,
            self._ints(blocks_BN),
            self._ints(firsts_B * size),
            self._ints(positions_BT),
            window,
            size,
        )

    def _ints(self, values: Ints | NDArray[np.int32]) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor if self._device.type == "cpu" else tensor.to(self._device)
