"""The objective: limits in ms that a request has to meet to count as good service (goodput).

The limit of `itl` is one for the mean gap of a request, as other benches have it; it differs from
`tpot` where an event brings more than a token.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from observability.bench.errors import WrongOption
from observability.bench.figures.latencies import Latencies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from observability.bench.measured import Measured

_NAMES = ("ttft", "ttfot", "itl", "tpot", "e2e")
POSSIBLE = f"METRIC:MS,... with METRIC of {', '.join(_NAMES)}, such as ttft:300,tpot:30"


def objective_of(words: str) -> dict[str, float]:
    """Limits in ms by metric; none of no words. Raises `WrongOption`."""
    limits: dict[str, float] = {}
    for part in words.split(",") if words.strip() else []:
        name, _, value = part.strip().lower().partition(":")
        name = "e2e" if name == "e2el" else name.removesuffix("_ms")
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if name not in _NAMES or name in limits or not 0 < limit < math.inf:
            raise WrongOption(f"--objective {part.strip()!r} is none; an objective is {POSSIBLE}")
        limits[name] = limit
    return limits


def is_met(one: Measured, limits: Mapping[str, float]) -> bool:
    """A failed request meets none. What has no gaps meets limits of gaps.

    What was not streamed showed its first text at its end. Without `usage` a limit of `tpot` is
    not met: nothing says that it is.
    """
    if one.error:
        return False
    times = Latencies.of(one)
    values = {
        "ttft": times.e2e if times.ttft is None else times.ttft,
        "ttfot": times.e2e if times.ttfot is None else times.ttfot,
        "itl": times.itl or 0.0,
        "tpot": times.tpot,
        "e2e": times.e2e,
    }
    if times.tpot is None and one.num_output_tokens is not None:
        values["tpot"] = 0.0
    return all(
        value is not None and value <= limits[name]
        for name, value in values.items()
        if name in limits
    )
