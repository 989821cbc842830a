"""`Comparison`: whether B differs from A, figure by figure, and how sure that is.

Runs are what varies, not requests: those of one run share its luck. With 4 runs on each side a
permutation test over the runs decides (`permutation`), and the interval of the ratio comes from
resampling them. With fewer only the requests inside the runs can be asked. Then the limits of both
sides are joined (MOVER, Zou & Donner 2008), as if another run of the same thing would differ by 5 %
(one standard deviation): one run each shows no difference below some 14 %.

Runs that alternate may be compared in pairs, which takes out a drift of the machine. In 500
simulated comparisons of 8 runs each with 2 % of noise, 5 % slower was seen in 98 % with pairs and in
99 % without; with a drift of 20 % from the first run to the last, in 99.8 % and in 14 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observability.bench.figures.difference import (
    ASSUMED_RUN_STD,
    Difference,
    differences_by_requests,
    differences_by_runs,
)
from observability.bench.figures.figure import MAIN
from observability.bench.figures.permutation import MIN_PAIRS, MIN_RUNS
from observability.bench.figures.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.run import Run

_MANY_ERRORS = 0.01


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Of two groups of runs; A is the base."""

    num_a: int
    num_b: int
    method: str
    """By "splits" of the runs, by "pairs" of them or, with too few, by "requests"."""
    differences: list[Difference]
    warnings: list[str]

    @classmethod
    def of(
        cls,
        a: Sequence[Run],
        b: Sequence[Run],
        names: Sequence[str] = MAIN,
        *,
        is_paired: bool = False,
    ) -> Comparison:
        """At least one run on each side. Figures that no run tells are left out.

        With `is_paired` the n-th run of A and the n-th of B were measured one after the other. That
        needs 6 on each side, equally many; else they are compared unpaired, with a warning.
        """
        summaries_a, summaries_b = ([Summary.of(run) for run in side] for side in (a, b))
        figures_a, figures_b = (
            [one.figures() for one in side] for side in (summaries_a, summaries_b)
        )
        told = set().union(*figures_a, *figures_b)
        names = [name for name in names if name in told]
        warnings = _plan_warnings(a, b) + _error_warnings(summaries_a, summaries_b)
        if min(len(a), len(b)) < MIN_RUNS:
            method = "requests"
            differences = differences_by_requests(summaries_a, summaries_b, names)
            warnings.append(
                "Fewer than 4 runs on a side: how much runs of one thing differ is not known, and "
                f"taken as {ASSUMED_RUN_STD:.0%}. Measure 5 of each, in turns."
            )
        else:
            method = "pairs" if is_paired and len(a) == len(b) >= MIN_PAIRS else "splits"
            is_paired_here = method == "pairs"
            differences = differences_by_runs(figures_a, figures_b, names, is_paired=is_paired_here)
        if is_paired and method != "pairs":
            warnings.append(
                f"Not compared in pairs: that needs {MIN_PAIRS} runs on each side, equally many."
            )
        return cls(
            num_a=len(a),
            num_b=len(b),
            method=method,
            differences=differences,
            warnings=warnings,
        )


def _plan_warnings(a: Sequence[Run], b: Sequence[Run]) -> list[str]:
    warnings = []
    plans = [run.plan for run in (*a, *b)]
    for name in ("workload", "arrival", "num_requests", "max_concurrency", "objective"):
        values = list(dict.fromkeys(str(getattr(plan, name)) for plan in plans))
        if len(values) > 1:
            warnings.append(f"Not the same {name} everywhere: {'; '.join(values)}.")
    if len(a) == len(b) and sorted(run.plan.seed for run in a) != sorted(
        run.plan.seed for run in b
    ):
        warnings.append("A and B have other seeds: their arrivals and lengths differ by chance.")
    if len({str(run.machine) for run in (*a, *b)}) > 1:
        warnings.append("Not all runs were measured from the same machine.")
    num_late = sum(not run.lateness.is_trustworthy for run in (*a, *b))
    if num_late:
        warnings.append(f"In {num_late} runs the client was too busy to measure well.")
    return warnings


def _error_warnings(a: Sequence[Summary], b: Sequence[Summary]) -> list[str]:
    rates = []
    for side in (a, b):
        num = sum(one.num_requests for one in side)
        rates.append(sum(one.num_requests - one.num_good for one in side) / num if num else 1.0)
    if max(rates) <= _MANY_ERRORS:
        return []
    return [
        f"Requests failed: {rates[0]:.1%} of A, {rates[1]:.1%} of B. Figures are of the good ones, "
        "and a server that refuses much is quick with the rest."
    ]
