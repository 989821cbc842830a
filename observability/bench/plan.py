"""`Plan`: everything that one measurement is made of. Stored with its results."""

from __future__ import annotations

from typing import Literal

import msgspec

EndpointName = Literal["chat", "completions"]
Protocol = Literal["http/1.1", "h2"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server and how it is spoken to."""

    url: str
    """Up to and without `/v1`: http://127.0.0.1:8000. With https TLS is spoken."""
    model: str
    endpoint: EndpointName = "chat"
    protocol: Protocol = "http/1.1"
    """The second is HTTP/2: by prior knowledge on http, by ALPN on https."""
    is_insecure: bool = False
    """Take any certificate."""
    timeout_s: float = 600.0
    """For a request, from sending to its end."""
    body: dict[str, object] = {}
    """Fields that are laid over each request: {"temperature": 0}."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, so that anyone can repeat it.

    `arrival` and `workload` are the words of the command line, in full: they are what a reader
    compares. The sessions themselves are made from them and `seed`.
    """

    target: Target
    workload: str
    arrival: str
    num_requests: int
    num_warmup: int = 0
    max_concurrency: int | None = None
    """Sessions at once over all processes; a session that is due waits for a place."""
    num_processes: int = 1
    seed: int = 0
    objective: dict[str, float] = {}
    """Limits in ms by metric, for goodput: {"ttft": 300, "itl": 50}."""
