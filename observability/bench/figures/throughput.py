"""`Throughput`: requests and tokens a second in a span of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.figures.interval import Interval, student_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.figures.interval import Floats
    from observability.bench.measured import Measured

RATES = ("requests_per_s", "output_tokens_per_s", "input_tokens_per_s", "total_tokens_per_s")
_NUM_SLICES = 20


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Of good requests. Tokens are what `usage` says: None if it says nothing for any request."""

    requests_per_s: float
    output_tokens_per_s: float | None
    input_tokens_per_s: float | None
    total_tokens_per_s: float | None
    intervals: dict[str, Interval]
    """By name: of the means of 20 slices of the span (batch means). A span that is not steady
    makes them wide."""

    @classmethod
    def of(cls, good: Sequence[Measured], begin_s: float, end_s: float) -> Throughput:
        """Of a span that is not empty, without its begin and with its end.

        A request counts when it ends, its prompt when the first text comes. The output tokens of a
        request are spread evenly over its arrivals, since one arrival may bring several.
        """
        edges_s = np.linspace(begin_s, end_s, _NUM_SLICES + 1)
        counts: dict[str, Floats | None] = {
            "requests_per_s": _counts(edges_s, [np.array([one.end_s for one in good])], [1.0]),
            "output_tokens_per_s": _output_counts(edges_s, good),
            "input_tokens_per_s": _input_counts(edges_s, good),
        }
        output, prompt = counts["output_tokens_per_s"], counts["input_tokens_per_s"]
        if output is not None and prompt is not None:
            counts["total_tokens_per_s"] = output + prompt
        slice_s = (end_s - begin_s) / _NUM_SLICES
        values: dict[str, float] = {}
        intervals = {}
        for name, in_slice in counts.items():
            if in_slice is not None:
                values[name] = float(in_slice.sum()) / (end_s - begin_s)
                if interval := student_interval(in_slice / slice_s):
                    intervals[name] = interval
        return cls(
            requests_per_s=values["requests_per_s"],
            output_tokens_per_s=values.get("output_tokens_per_s"),
            input_tokens_per_s=values.get("input_tokens_per_s"),
            total_tokens_per_s=values.get("total_tokens_per_s"),
            intervals=intervals,
        )


def _output_counts(edges_s: Floats, good: Sequence[Measured]) -> Floats | None:
    told = [one for one in good if one.num_output_tokens is not None]
    if not told:
        return None
    times_s = [np.array(one.arrivals_s or [one.end_s]) for one in told]
    weights = [(one.num_output_tokens or 0) / max(1, len(one.arrivals_s)) for one in told]
    return _counts(edges_s, times_s, weights)


def _input_counts(edges_s: Floats, good: Sequence[Measured]) -> Floats | None:
    told = [one for one in good if one.num_prompt_tokens is not None]
    if not told:
        return None
    firsts_s = [np.array([one.arrivals_s[0] if one.arrivals_s else one.end_s]) for one in told]
    return _counts(edges_s, firsts_s, [float(one.num_prompt_tokens or 0) for one in told])


def _counts(edges_s: Floats, times_s: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """In each slice; a time on an edge belongs to the slice before. Each of `times_s` has a weight."""
    if not times_s:
        return np.zeros(len(edges_s) - 1)
    each = np.repeat(np.array(weights), [len(times) for times in times_s])
    slices = np.searchsorted(edges_s, np.concatenate(times_s), side="left")
    in_slices = np.bincount(slices, weights=each, minlength=len(edges_s) + 1)
    return in_slices[1 : len(edges_s)].astype(np.float64)
