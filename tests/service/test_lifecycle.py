"""The lifecycle: a table of transitions, and waits that end."""

from __future__ import annotations

import anyio
import pytest

from engine.errors import EngineLoading, EngineUnavailable
from engine.protocol import Down
from service.lifecycle import TRANSITIONS, IllegalTransition, Lifecycle, State

FAULT = Down("engine_error", "It broke.")


def at(state: State) -> Lifecycle:
    lifecycle = Lifecycle()
    lifecycle.state = state
    return lifecycle


@pytest.mark.parametrize("state", State)
def test_an_illegal_transition_raises_and_changes_nothing(state: State) -> None:
    for target in State:
        lifecycle = at(state)
        if target in TRANSITIONS[state]:
            continue
        with pytest.raises(IllegalTransition):
            lifecycle._go(target)
        assert lifecycle.state is state


def test_down_is_the_end() -> None:
    assert TRANSITIONS[State.DOWN] == frozenset()
    assert set(TRANSITIONS) == set(State)


def test_ready_while_draining_comes_too_late() -> None:
    lifecycle = Lifecycle()
    lifecycle.begin_drain()
    lifecycle.become_ready()
    assert lifecycle.state is State.DRAINING
    assert not lifecycle.was_ready


@pytest.mark.parametrize("state", [State.DRAINING, State.DOWN])
def test_draining_again_changes_nothing(state: State) -> None:
    lifecycle = at(state)
    lifecycle.begin_drain()
    assert lifecycle.state is state


async def test_a_drain_waits_for_the_last_open_request() -> None:
    lifecycle = Lifecycle()
    lifecycle.become_ready()
    with lifecycle.answering():
        with lifecycle.answering():
            lifecycle.begin_drain()
        with anyio.move_on_after(0) as scope:
            await lifecycle.wait_idle()
        assert scope.cancelled_caught
    with anyio.fail_after(1):
        await lifecycle.wait_idle()


async def test_a_drain_without_requests_is_done_at_once() -> None:
    lifecycle = Lifecycle()
    lifecycle.begin_drain()
    with anyio.fail_after(1):
        await lifecycle.wait_idle()


async def test_a_request_that_fails_is_no_longer_open() -> None:
    lifecycle = Lifecycle()
    with pytest.raises(ZeroDivisionError), lifecycle.answering():
        raise ZeroDivisionError
    assert lifecycle.num_open == 0


def test_without_an_engine_the_client_says_whether_to_wait_for_one() -> None:
    with pytest.raises(EngineLoading):
        _ = Lifecycle().client
    with pytest.raises(EngineUnavailable):
        _ = at(State.DOWN).client


def test_an_engine_that_died_is_no_shutdown() -> None:
    died, stopped = Lifecycle(), Lifecycle()
    died.go_down(FAULT)
    stopped.go_down(None)
    assert not died.is_shutting_down
    assert stopped.is_shutting_down
