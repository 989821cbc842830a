"""`Job` and what else the conductor and a worker say to each other: lines of JSON on pipes.

A worker is told `Job`, `Begin` and perhaps `Stop`; it says `Ready`, then `Progress` and `Results`,
and `Ended`. The API key is in the job alone: arguments and environments are seen by others.
"""

from __future__ import annotations

import msgspec

from observability.bench.measured import Measured
from observability.bench.plan import Target
from observability.bench.run import Lateness
from observability.bench.turn import Session


class Job(msgspec.Struct, frozen=True, kw_only=True, tag="job", omit_defaults=True):
    """What one worker does."""

    target: Target
    sessions: list[Session]
    warmup: list[Session] = []
    max_concurrency: int | None = None
    """Its share."""
    api_key: str | None = None


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Time 0, on CLOCK_MONOTONIC."""

    at_ns: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Break off what runs and say `Ended`."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The warm-up is over; connections are open."""

    num_warm: int
    num_failed: int
    error: str = ""
    """Of the first that failed."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """Requests and events since the begin."""

    num_done: int
    num_failed: int
    num_running: int
    num_events: int


class Results(msgspec.Struct, frozen=True, tag="results"):
    """Requests that have ended since the last of these."""

    results: list[Measured]


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """All results are told."""

    lateness: Lateness


Told = Job | Begin | Stop
Said = Ready | Progress | Results | Ended


def line_of(message: Told | Said) -> bytes:
    """With its LF."""
    return msgspec.json.encode(message) + b"\n"
