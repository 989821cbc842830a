"""`NamedWorkload`: loads that this project quotes by name, so that figures compare."""

from __future__ import annotations

import msgspec


class NamedWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """Words for `workload_of` and `arrival_of`, and numbers that a user may change.

    The numbers of requests make a run of about a minute on a CPU with a model of half a billion
    parameters.
    """

    name: str
    about: str
    """One line for the user."""
    workload: str
    arrival: str
    max_concurrency: int | None
    num_requests: int
    num_warmup: int


NAMED_WORKLOADS: tuple[NamedWorkload, ...] = (
    NamedWorkload(
        name="W1",
        about="one user: 512 tokens in, 128 out",
        workload="random:512,128",
        arrival="closed",
        max_concurrency=1,
        num_requests=5,
        num_warmup=1,
    ),
    NamedWorkload(
        name="W2",
        about="16 users: 256 tokens in, 128 out",
        workload="random:256,128",
        arrival="closed",
        max_concurrency=16,
        num_requests=48,
        num_warmup=4,
    ),
    NamedWorkload(
        name="W3",
        about="16 users of one application: 1024 shared tokens and 64 of their own in, 64 out",
        workload="shared:1024+64,64",
        arrival="closed",
        max_concurrency=16,
        num_requests=64,
        num_warmup=4,
    ),
    NamedWorkload(
        name="W4",
        about="64 requests at once: 128 tokens in, 32 out",
        workload="random:128,32",
        arrival="burst",
        max_concurrency=None,
        num_requests=64,
        num_warmup=4,
    ),
)


def named_workload(words: str) -> NamedWorkload | None:
    """By its name, in capitals or not; None if the words name none."""
    wanted = words.strip().upper()
    return next((one for one in NAMED_WORKLOADS if one.name == wanted), None)
