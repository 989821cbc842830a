from __future__ import annotations

from itertools import product

import pytest

from engine.protocol import SamplingParams, Submit, pack_token_ids
from engine.request import Request
from engine.sequence import TRANSITIONS, IllegalTransition, Sequence, SequenceState

PATHS = {
    SequenceState.WAITING: [],
    SequenceState.RUNNING: [SequenceState.RUNNING],
    SequenceState.FINISHED: [SequenceState.FINISHED],
}


def make_sequence(prompt: list[int], max_tokens: int) -> Sequence:
    params = SamplingParams(max_tokens, temperature=0, top_p=1, top_k=0, seed=0)
    submit = Submit("a", pack_token_ids(prompt), params, 0)
    return Request(submit, 1, max_model_len=32, model="m").sequences[0]


@pytest.mark.parametrize(("old", "new"), list(product(SequenceState, SequenceState)))
def test_the_table_decides_every_change_of_state(old: SequenceState, new: SequenceState) -> None:
    sequence = make_sequence([1, 2], 9)
    for state in PATHS[old]:
        sequence.move_to(state)
    if new in TRANSITIONS[old]:
        sequence.move_to(new)
        assert sequence.state is new
    else:
        with pytest.raises(IllegalTransition):
            sequence.move_to(new)
        assert sequence.state is old


def test_nothing_leads_out_of_finished() -> None:
    assert not TRANSITIONS[SequenceState.FINISHED]


def test_the_context_bounds_the_output() -> None:
    assert make_sequence([1] * 30, 100).max_len == 32
    assert make_sequence([1] * 30, 1).max_len == 31
