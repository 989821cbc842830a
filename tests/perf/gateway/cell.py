"""One measurement: a server, a protocol, so many streams; and what came out."""

from __future__ import annotations

from typing import Literal

import msgspec

Server = Literal["kvorum", "hypercorn", "uvicorn", "none"]
Wiring = Literal["http/1.1", "h2c", "h2 tls", "none"]
Kind = Literal["cpu", "delay", "memory"]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured. Server "none" is the application alone, without sockets.

    Each stream gets `rate` token events a second. The streams are dealt out to `num_phases`
    batches, whose steps are spread evenly over the period: 1 is one frame for all streams.
    """

    kind: Kind
    server: Server
    wiring: Wiring
    num_streams: int
    num_connections: int
    rate: float = 0.0
    num_phases: int = 1
    rounds: int = 1

    def __str__(self) -> str:
        streams = f"{self.num_streams:4}/{self.num_connections} streams/connections"
        steps = "" if self.kind == "memory" else f", {self.steps}"
        return f"{self.kind:6} {self.server:9} {self.wiring:8} {streams}{steps}"

    @property
    def steps(self) -> str:
        """How the tokens of different streams fall in time, in words."""
        if self.num_phases == 1:
            return "one step"
        return "each alone" if self.num_phases == self.num_streams else f"{self.num_phases} batches"


class Result(msgspec.Struct, kw_only=True):
    """What came out of one round of a cell. Shares are of one core; `cut` says what went wrong."""

    cell: Cell
    cut: str = ""
    num_begun: int = 0
    num_failed: int = 0
    window_s: float = 0.0
    num_tokens: int = 0
    server_us_per_token: float = 0.0
    server_cpu: float = 0.0
    client_cpu: float = 0.0
    other_cpu: float = 0.0
    """Of all other processes: what makes a machine too busy to measure on."""
    delays_ms: dict[str, float] = {}
    lags_ms: dict[str, float] = {}
    kb_per_stream: float = 0.0

    @property
    def share_delivered(self) -> float:
        """Of the token events that an unhurried engine would have sent; below 1 it is too much."""
        due = self.cell.rate * self.cell.num_streams * self.window_s
        return self.num_tokens / due if due else 0.0
