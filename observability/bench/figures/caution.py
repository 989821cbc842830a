"""Cautions: what a reader of a run's figures has to know before believing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.bench.figures.distribution import PERCENTS, is_known, num_needed

if TYPE_CHECKING:
    from observability.bench.figures.summary import Summary
    from observability.bench.run import Run

_BEHIND = 0.98
_MUCH_QUEUED = 0.05


def cautions(run: Run, summary: Summary) -> list[str]:
    """Whole sentences, the worst first."""
    return [
        *_of_client(run, summary),
        *_of_answers(run, summary),
        *_of_sample(summary),
    ]


def _of_client(run: Run, summary: Summary) -> list[str]:
    said = []
    late = run.lateness
    if not late.is_trustworthy:
        said.append(
            "The client was too busy to measure well: its busiest process used "
            f"{late.cpu_share:.0%} of a core, its timers were {late.loop_p99_ms:.1f} ms late and its "
            f"requests {late.send_p99_ms:.1f} ms (p99). Give it more processes, or a machine of its own."
        )
    asked, sent = summary.asked_rate_per_s, summary.sent_rate_per_s
    if asked and sent and sent < asked * _BEHIND:
        said.append(
            f"{asked:.4g} sessions/s were asked for, {sent:.4g} were sent: the limit of concurrency "
            "held them back."
        )
    queued, e2e = summary.queued, summary.e2e
    if queued and e2e and queued.mean > e2e.mean * _MUCH_QUEUED:
        said.append(
            f"{queued.mean / e2e.mean:.0%} of the mean latency was waiting in the client for a place."
        )
    return said


def _of_answers(run: Run, summary: Summary) -> list[str]:
    said = []
    num_failed = summary.num_requests - summary.num_good
    if not summary.num_good:
        said.append("No request was answered: there is nothing to measure.")
    if num_failed:
        detail = next((one.detail for one in run.results if one.error and one.detail), "")
        kinds = ", ".join(f"{num} {kind}" for kind, num in summary.errors.items())
        first = f" The first said: {' '.join(detail.split())}" if detail else ""
        said.append(
            f"{num_failed} of {summary.num_requests} requests failed ({kinds}); latencies are of "
            f"the good ones.{first}"
        )
    if summary.num_without_usage:
        said.append(
            f"{summary.num_without_usage} answers came without usage: their tokens are not counted."
        )
    if summary.num_wrong_length:
        said.append(
            f"{summary.num_wrong_length} answers had another number of output tokens than was asked "
            "for: compare with runs of the same lengths only."
        )
    return said


def _of_sample(summary: Summary) -> list[str]:
    said = []
    unknown = [percent for percent in PERCENTS if not is_known(percent, summary.num_good)]
    if summary.num_good and unknown:
        needs = ", ".join(f"p{percent} {num_needed(percent)}" for percent in unknown)
        said.append(
            f"{summary.num_good} good requests are too few for some percentiles: needed are {needs}."
        )
    if summary.num_good and summary.window is None:
        said.append(
            "The run has no steady part: too short for its concurrency, or its load rose or fell."
        )
    return said
