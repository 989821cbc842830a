"""Latencies as text, at most 100 columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.bench.ceiling import Ceiling
    from engine.bench.latency import LatencyCell
    from engine.protocol import Ready

HEAD = (
    f"{'':<8} {'batch':>6} {'tokens':>7} {'ms':>9} {'from - to':>17} {'tokens/s':>10} "
    f"{'of the ceiling':>15}"
)


def machine_lines(ready: Ready, num_threads: int, ceiling: Ceiling) -> str:
    """What is measured, and what the machine could do."""
    where = f"{num_threads} threads" if ready.device == "cpu" else ready.device
    return "\n".join(
        (
            f"{ready.model}, {ready.num_parameters / 1e6:,.1f} M parameters, {ready.dtype}, {where}",
            f"reads {ceiling.bytes_per_s / 1e9:,.1f} GB/s ({ceiling.bytes_by}), computes "
            f"{ceiling.operations_per_s / 1e12:,.3f} TFLOP/s",
            f"({ceiling.operations_by})",
        )
    )


def cell_line(one: LatencyCell) -> str:
    """A row under `HEAD`."""
    share = "-" if one.share is None else f"{one.share:.0%} {one.bound}"
    spread = f"{one.min_ms:.2f} - {one.max_ms:.2f}"
    return (
        f"{one.cell.kind:<8} {one.cell.batch:>6} {one.cell.length:>7,} {one.median_ms:>9,.2f} "
        f"{spread:>17} {one.tokens_per_s:>10,.0f} {share:>15}"
    )


def explanation(cells: Sequence[LatencyCell]) -> str:
    """What the columns mean."""
    num = cells[0].num_repeats if cells else 0
    return (
        f"medians of {num}. decode: a step of the batch behind so many tokens each; prefill: so many "
        "tokens\neach, to the first new one. The share is of the least time that reading all weights "
        "and keys, or\ncomputing with them, would take at the rates above."
    )
