"""Starts as text: medians, and how far the repeats lie apart."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.bench.startup import Startup

_GIB = 2**30


def startup_table(startups: Sequence[Startup]) -> str:
    """At least one. Seconds of wall and CPU time; the spread is from the least to the most."""
    rows = [("", "wall s", "spread", "CPU s", "spread")]
    for title, name in (
        ("live (answers HTTP)", "live"),
        ("ready", "ready"),
        ("first token", "first_token"),
    ):
        moments = [getattr(one, name) for one in startups]
        wall = [moment.wall_s for moment in moments]
        cpu = [moment.cpu_s for moment in moments]
        rows.append((title, _median(wall), _spread(wall), _median(cpu), _spread(cpu)))
    stops = [one.stop_s for one in startups]
    rows.append(("gone after SIGTERM", _median(stops), _spread(stops), "", ""))
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [
        row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    rss, pss = (
        statistics.median(getattr(one, name) for one in startups) / _GIB
        for name in ("peak_rss_bytes", "peak_pss_bytes")
    )
    num = statistics.median_high(one.num_processes for one in startups)
    shared = f", {pss:.2f} GiB with what is shared counted once" if pss else ""
    lines += [
        "",
        f"peak memory of {num} processes: {rss:.2f} GiB resident{shared}",
        f"medians of {len(startups)}; whether files were in the page cache is not controlled",
    ]
    return "\n".join(line.rstrip() for line in lines)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}"


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.2f}-{max(values):.2f}"
