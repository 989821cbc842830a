"""The plain data between scheduler and runner: what a step computes, and what it gave.

A running sequence has a row, a place in the batch that is its own until it stops running. The
runner keeps in arrays what belongs to a row, so a plan says what has changed and no more.
"""

from __future__ import annotations

from array import array

import msgspec

from engine.protocol import SamplingParams, TokenLogprobs


def _ints() -> array[int]:
    return array("q")


class RowStart(msgspec.Struct, frozen=True, gc=False):
    """A sequence takes a row: it has just been admitted, once more after a preemption, or forked.

    `token_ids` is all of it, prompt and output so far. `scores_prompt` asks for log-probabilities
    of the prompt's tokens. Drawing is keyed by `params.seed`, `sample` and position.
    """

    row: int
    params: SamplingParams
    sample: int
    token_ids: list[int]
    num_prompt_tokens: int
    scores_prompt: bool


class TableChange(msgspec.Struct, frozen=True, gc=False):
    """From `index` on the block table of a row holds `blocks`, in one group of layers."""

    group: int
    row: int
    index: int
    blocks: list[int]


class StepPlan(msgspec.Struct, frozen=True, gc=False):
    """What one forward pass does. Sequences lie one after the other in the packed row of tokens,
    those that compute a single token first.

    `rows`, `starts`, `counts` and `draws` (int64) have an entry for each sequence: its row, the
    position of its first token here, how many tokens it computes, and 1 if the last of them yields
    a new token, else 0. `token_ids` holds the tokens of all of them.

    Before anything else `table_changes` are noted, blocks of `copies` (group, from, to) are read,
    `dirty_blocks` (group, block) are zeroed, and the copies are written. Dirty ones may hold
    numbers that are not finite, from a request that has failed: a masked slot weighs nothing, but
    0 x NaN is still NaN.
    """

    rows: array[int] = msgspec.field(default_factory=_ints)
    starts: array[int] = msgspec.field(default_factory=_ints)
    counts: array[int] = msgspec.field(default_factory=_ints)
    draws: array[int] = msgspec.field(default_factory=_ints)
    token_ids: array[int] = msgspec.field(default_factory=_ints)
    row_starts: list[RowStart] = []
    table_changes: list[TableChange] = []
    copies: list[tuple[int, int, int]] = []
    dirty_blocks: list[tuple[int, int]] = []

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)


class StepResult(msgspec.Struct, frozen=True, gc=False):
    """`token_ids` has an entry for each sequence of the plan that draws, in order: a token id; or
    None where the logits were not finite and nothing may be drawn from them.

    `logprobs` is empty, or has an entry for each of these: None where nobody asked.
    `prompt_logprobs` maps the index of a sequence in the plan to those of the tokens that follow
    the tokens it computed, as far as these are the prompt's. `forced` maps such an index to tokens
    that can only follow: they have not been computed. `late` are the indices of those that were to
    draw and cannot yet, `refused` of those whose grammar has failed. Neither these nor who gets
    tokens by `forced` alone have an entry in `token_ids`: see `without_draw`.
    """

    token_ids: list[int | None]
    logprobs: list[TokenLogprobs | None] = []
    prompt_logprobs: dict[int, list[TokenLogprobs]] = {}
    forced: dict[int, list[int]] = {}
    without_draw: list[int] = []
    """The indices of all that were to draw and have no entry in `token_ids`."""
    late: list[int] = []
    refused: list[int] = []
