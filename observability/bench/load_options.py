"""`LoadOptions`: what a user asks for, before a server has been looked at."""

from __future__ import annotations

import msgspec

from observability.bench.plan import EndpointName, Protocol


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """None is what the workload or the server says."""

    endpoint: EndpointName = "chat"
    protocol: Protocol = "http/1.1"
    is_insecure: bool = False
    timeout_s: float = 600.0
    body: dict[str, object] = {}
    may_end_early: bool = False
    """Else `ignore_eos` is sent to servers that take it, so that lengths are what was asked."""
    api_key: str | None = None
    workload: str = "random:512,128"
    arrival: str | None = None
    concurrency: int | None = None
    num_requests: int | None = None
    num_warmup: int | None = None
    num_processes: int = 1
    seed: int = 0
    tokenizer: str | None = None
    objective: str = ""
