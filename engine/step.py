"""The plain data between scheduler and runner: what a step computes, and what it gave."""

from __future__ import annotations

import msgspec


class ScheduledSequence(msgspec.Struct, frozen=True, gc=False):
    """One sequence's share of a step.

    The step computes `token_ids` (int, length >= 1), which lie at positions `start_position` and
    following, into the blocks of `block_table`. `samples` says whether the last of them yields
    a new token; sampling is keyed by `seed` and by the position of the token to be drawn, so
    that neither the batch nor a preemption can change it.
    """

    request_id: str
    token_ids: list[int]
    start_position: int
    block_table: list[int]
    samples: bool
    temperature: float
    top_p: float
    top_k: int
    seed: int

    @property
    def end_position(self) -> int:
        """The position after the last computed token: also that of a sampled one."""
        return self.start_position + len(self.token_ids)


class StepPlan(msgspec.Struct, frozen=True, gc=False):
    """What one forward pass does, in the order of the packed row.

    `dirty_blocks` may hold numbers that are not finite, from a request that has failed: they are
    zeroed before anything else, for a masked slot weighs nothing, but 0 x NaN is still NaN.
    """

    sequences: tuple[ScheduledSequence, ...]
    dirty_blocks: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(len(sequence.token_ids) for sequence in self.sequences)


class StepResult(msgspec.Struct, frozen=True, gc=False):
    """One entry for each sequence of the plan that `samples`, in order.

    A token id; or None where the logits were not finite and nothing may be drawn from them.
    """

    sampled: tuple[int | None, ...]
