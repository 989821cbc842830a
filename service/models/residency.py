"""`next_move`: which model is loaded or unloaded next. Pure: no clock, no engine, no waiting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_STAY_S = 3.0
"""Nobody goes sooner after coming to make room: whoever waited for it must find it."""


class Resident(msgspec.Struct, frozen=True):
    """A loaded model. `idle_since_s` is None while requests of it are in flight. A pinned one never
    goes by itself; `timeout_s` 0 lets it stay however long it is idle."""

    name: str
    num_bytes: int
    since_s: float
    idle_since_s: float | None = None
    is_pinned: bool = False
    timeout_s: float = 0.0


class Wanted(msgspec.Struct, frozen=True):
    """A model that somebody waits for. `num_bytes` is what it is known to take, or its weights;
    `is_short`: it was tried, and there was too little memory."""

    name: str
    num_bytes: int
    is_short: bool = False


class Move(msgspec.Struct, frozen=True):
    """What to do: load one model, or unload one, or wait until `wait_until_s` for something to
    change. Meanwhile the model `leaving` takes nothing new."""

    load: str | None = None
    unload: str | None = None
    leaving: str | None = None
    wait_until_s: float = math.inf


def next_move(
    wanted: Sequence[Wanted], residents: Sequence[Resident], budget_bytes: float, now_s: float
) -> Move:
    """The move that serves whoever has waited longest; `wanted` is in that order. Without anybody
    who waits, those go that have been idle for their time."""
    if not wanted:
        return _after_timeouts(residents, now_s)
    first = wanted[0]
    held_bytes = sum(resident.num_bytes for resident in residents)
    others = [resident for resident in residents if not resident.is_pinned]
    if not first.is_short and held_bytes + first.num_bytes <= budget_bytes:
        return Move(load=first.name)
    if not others:
        return Move(load=first.name)  # in vain perhaps: the engine says why
    idle = [r for r in others if r.idle_since_s is not None and _may_go(r, now_s)]
    if idle:
        return Move(unload=min(idle, key=lambda r: (r.idle_since_s, r.name)).name)
    oldest = min(others, key=lambda r: (r.since_s, r.name))
    if _may_go(oldest, now_s):
        return Move(leaving=oldest.name)
    return Move(wait_until_s=oldest.since_s + MIN_STAY_S)


def _after_timeouts(residents: Sequence[Resident], now_s: float) -> Move:
    due = [
        (resident.idle_since_s + resident.timeout_s, resident.name)
        for resident in residents
        if resident.idle_since_s is not None and resident.timeout_s and not resident.is_pinned
    ]
    if not due:
        return Move()
    due_s, name = min(due)
    return Move(unload=name) if due_s <= now_s else Move(wait_until_s=due_s)


def _may_go(resident: Resident, now_s: float) -> bool:
    return now_s - resident.since_s >= MIN_STAY_S
