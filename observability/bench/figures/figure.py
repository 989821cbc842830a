"""Figures: the names by which the scalars of a run are stored, compared and limited, for good.

STATISTIC_LATENCY_ms with the statistics of `Distribution` and the latencies of `Latencies`, and the
names of `OTHERS`.
"""

from __future__ import annotations

import difflib

from observability.bench.errors import WrongOption
from observability.bench.figures.distribution import STATISTICS
from observability.bench.figures.latencies import LATENCIES
from observability.bench.figures.throughput import RATES

OTHERS: dict[str, bool | None] = {
    **dict.fromkeys(RATES, True),
    **{f"steady_{name}": True for name in RATES},
    "tokens_per_s_per_user": True,
    "goodput_per_s": True,
    "goodput_share": True,
    "cached_share": True,
    "error_rate": False,
    "missing_usage_share": False,
    "wrong_length_share": False,
    "duration_s": None,
    "steady_duration_s": None,
    "mean_concurrency": None,
    "peak_concurrency": None,
    "asked_rate_per_s": None,
    "sent_rate_per_s": None,
}
"""Whether more is better; None: neither."""
MAIN = (
    "output_tokens_per_s",
    "requests_per_s",
    "p50_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "p99_itl_ms",
    "p50_e2e_ms",
    "goodput_per_s",
)
"""What a comparison shows unless it is asked for others."""
_LATENCY_FIGURES = [f"{stat}_{name}_ms" for name in LATENCIES for stat in STATISTICS]
NAMES = (*_LATENCY_FIGURES, *OTHERS)
_OTHER_WORDS = {
    "tokens_per_s": "output_tokens_per_s",
    "throughput": "output_tokens_per_s",
    "goodput": "goodput_per_s",
    "requests": "requests_per_s",
    "errors": "error_rate",
}


def is_more_better(name: str) -> bool | None:
    """None where more is neither better nor worse. `name` is one of `NAMES`."""
    return OTHERS.get(name, False)


def figure_named(words: str) -> str:
    """One of `NAMES`, also without its unit. Raises `WrongOption` with the nearest names."""
    name = words.strip().lower().replace("-", "_").replace("e2el", "e2e")
    name = name.replace("tokens_per_second", "tokens_per_s")
    for candidate in (name, f"{name}_ms", f"{name}_per_s", f"{name}_s", _OTHER_WORDS.get(name, "")):
        if candidate in NAMES:
            return candidate
    short = [one.removesuffix("_ms") for one in NAMES]
    near = difflib.get_close_matches(name, short, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise WrongOption(
        f"there is no figure {words.strip()!r}; {meant}Known are STATISTIC_LATENCY with "
        f"{', '.join(STATISTICS)} of {', '.join(LATENCIES)}, and {', '.join(OTHERS)}"
    )
