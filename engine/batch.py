"""`Batch`: a step's plan as tensors: all tokens packed into one row, sequence after sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from engine.attention.paged_sdpa import DecodeGroup, PagedSdpa, PrefillChunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.kv_tensors import KVTensors
    from engine.step import ScheduledSequence, StepPlan


class Batch(NamedTuple):
    """T tokens of a step; B of the sequences sample, in the order of the plan."""

    input_ids_1T: torch.Tensor
    position_ids_1T: torch.Tensor
    last_rows_B: torch.Tensor
    attention: PagedSdpa


def make_batch(plan: StepPlan, cache: KVTensors, device: torch.device) -> Batch:
    """Tensors for `plan` (at least one token) over `cache`."""

    def ints(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    token_ids: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    last_rows: list[int] = []
    size = cache.block_size
    for sequence in plan.sequences:
        token_ids += sequence.token_ids
        table = sequence.block_table
        for position in range(sequence.start_position, sequence.end_position):
            positions.append(position)
            slots.append(table[position // size] * size + position % size)
        if sequence.samples:
            last_rows.append(len(token_ids) - 1)
    positions_T = ints(positions)
    return Batch(
        input_ids_1T=ints(token_ids)[None],
        position_ids_1T=positions_T[None],
        last_rows_B=ints(last_rows),
        attention=_attention(plan, cache, ints(slots), positions_T),
    )


def _attention(
    plan: StepPlan, cache: KVTensors, slots_T: torch.Tensor, positions_T: torch.Tensor
) -> PagedSdpa:
    """The leading sequences with one token each make the decode group, the rest are chunks."""
    num_decoding = 0
    for sequence in plan.sequences:
        if len(sequence.token_ids) > 1:
            break
        num_decoding += 1
    decode = None
    if num_decoding:
        blocks_BN = _padded_blocks(plan.sequences[:num_decoding], cache)
        blocks = torch.tensor(blocks_BN, device=slots_T.device)
        decode = DecodeGroup(blocks, positions_T[:num_decoding], cache.block_size)
    chunks = []
    start = num_decoding
    for sequence in plan.sequences[num_decoding:]:
        rows = slice(start, start + len(sequence.token_ids))
        blocks = torch.tensor(_padded_blocks([sequence], cache), device=slots_T.device)
        chunks.append(PrefillChunk(rows, blocks, positions_T[rows], sequence.end_position))
        start = rows.stop
    return PagedSdpa(cache, slots_T, decode, chunks)


def _padded_blocks(sequences: Sequence[ScheduledSequence], cache: KVTensors) -> list[list[int]]:
    """Block ids that hold the computed tokens of each sequence, padded with the block that is
    nobody's: it is masked, but another request's NaN would come through a mask."""
    tables = [s.block_table[: -(-s.end_position // cache.block_size)] for s in sequences]
    longest = max(map(len, tables))
    return [table + [cache.scratch_block] * (longest - len(table)) for table in tables]
