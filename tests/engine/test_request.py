from __future__ import annotations

from itertools import product

import pytest

from engine.protocol import SamplingParams, Submit, pack_token_ids
from engine.request import TRANSITIONS, IllegalTransition, Request, RequestState

PATHS = {
    RequestState.WAITING: [],
    RequestState.RUNNING: [RequestState.RUNNING],
    RequestState.FINISHED: [RequestState.FINISHED],
}


def make_request() -> Request:
    params = SamplingParams(max_tokens=9, temperature=0, top_p=1, top_k=0, seed=0)
    return Request(Submit("a", pack_token_ids([1, 2]), params, 0), max_model_len=32)


@pytest.mark.parametrize(("old", "new"), list(product(RequestState, RequestState)))
def test_the_table_decides_every_change_of_state(old: RequestState, new: RequestState) -> None:
    request = make_request()
    for state in PATHS[old]:
        request.move_to(state)
    if new in TRANSITIONS[old]:
        request.move_to(new)
        assert request.state is new
    else:
        with pytest.raises(IllegalTransition):
            request.move_to(new)
        assert request.state is old


def test_nothing_leads_out_of_finished() -> None:
    assert not TRANSITIONS[RequestState.FINISHED]


def test_the_context_bounds_the_output() -> None:
    params = SamplingParams(max_tokens=100, temperature=0, top_p=1, top_k=0, seed=0)
    assert Request(Submit("a", pack_token_ids([1] * 30), params, 0), 32).max_tokens == 2
