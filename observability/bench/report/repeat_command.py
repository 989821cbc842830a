"""The command line that measures again what a `Plan` says."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

from observability.bench.store.run_rows import without_password

if TYPE_CHECKING:
    from observability.bench.plan import Plan


def repeat_command(plan: Plan) -> str:
    """For a POSIX shell. Without a key or a password."""
    target = plan.target
    options: dict[str, object] = {
        "--url": without_password(target.url),
        "--model": target.model,
        "--endpoint": target.endpoint,
        "--protocol": target.protocol,
        "--workload": plan.workload,
        "--arrival": plan.arrival,
        "--concurrency": plan.max_concurrency,
        "--requests": plan.num_requests,
        "--warmup": plan.num_warmup,
        "--processes": plan.num_processes,
        "--seed": plan.seed,
        "--timeout": f"{target.timeout_s:g}",
        "--body": msgspec.json.encode(target.body).decode() if target.body else None,
        "--objective": ",".join(f"{name}:{limit:g}" for name, limit in plan.objective.items()),
    }
    words = [
        f"{option} {shlex.quote(str(value))}"
        for option, value in options.items()
        if value is not None and value != ""
    ]
    if target.is_insecure:
        words.append("--insecure")
    return " ".join(["kvorum bench serve", *words])
