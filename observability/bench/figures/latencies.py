"""`Latencies`: the times of one request, in ms, from what was measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from observability.bench.measured import Measured

LATENCIES = ("ttft", "ttfot", "itl", "tpot", "e2e", "queued")


class Latencies(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of a good request. None is what it does not tell."""

    ttft: float | None
    """From due to the first text."""
    ttfot: float | None
    """From due to the first text that is not reasoning."""
    itl: float | None
    """The mean of its gaps between arrivals, of which one may bring several tokens."""
    tpot: float | None
    """From its first to its last arrival, for each token after the first, as `usage` counts. Needs
    two arrivals: tokens that came together have no time between them."""
    e2e: float
    """From due to its end."""
    queued: float
    """From due to sent: in the client."""

    @classmethod
    def of(cls, one: Measured) -> Latencies:
        arrivals, num_tokens = one.arrivals_s, one.num_output_tokens
        itl = tpot = None
        if len(arrivals) > 1:
            stream_ms = (arrivals[-1] - arrivals[0]) * 1e3
            itl = stream_ms / (len(arrivals) - 1)
            if num_tokens is not None and num_tokens > 1:
                tpot = stream_ms / (num_tokens - 1)
        first_answer_s = one.first_answer_s
        return cls(
            ttft=(arrivals[0] - one.due_s) * 1e3 if arrivals else None,
            ttfot=None if first_answer_s is None else (first_answer_s - one.due_s) * 1e3,
            itl=itl,
            tpot=tpot,
            e2e=(one.end_s - one.due_s) * 1e3,
            queued=(one.sent_s - one.due_s) * 1e3,
        )
