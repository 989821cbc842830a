"""`TotalStats`: the numbers of all models of an engine as one. Totals never fall."""

from __future__ import annotations

from collections import Counter

from engine.protocol import Stats


class TotalStats:
    """Adds up models that run and those that have been unloaded."""

    def __init__(self) -> None:
        self._past: list[Stats] = []

    def note_refusal(self) -> None:
        """A request failed before it had a model."""
        self.note_end(Stats(finishes={"error": 1}))

    def note_end(self, stats: Stats) -> None:
        """A model is gone: its totals stay, and its gauges are nothing any more."""
        ended = Stats(
            num_steps=stats.num_steps,
            num_prompt_tokens=stats.num_prompt_tokens,
            num_output_tokens=stats.num_output_tokens,
            num_preemptions=stats.num_preemptions,
            finishes=stats.finishes,
        )
        self._past = [_sum([*self._past, ended])]

    def with_running(self, running: list[Stats]) -> Stats:
        """The sum of all; times are the earliest."""
        if len(running) == 1 and not self._past:
            return running[0]
        return _sum([*running, *self._past])


def _sum(parts: list[Stats]) -> Stats:
    finishes: Counter[str] = Counter()
    for part in parts:
        finishes.update(part.finishes)
    return Stats(
        num_running=sum(p.num_running for p in parts),
        num_waiting=sum(p.num_waiting for p in parts),
        num_blocks=sum(p.num_blocks for p in parts),
        num_blocks_used=sum(p.num_blocks_used for p in parts),
        num_steps=sum(p.num_steps for p in parts),
        num_prompt_tokens=sum(p.num_prompt_tokens for p in parts),
        num_output_tokens=sum(p.num_output_tokens for p in parts),
        num_preemptions=sum(p.num_preemptions for p in parts),
        finishes=dict(finishes),
        step_started_ns=min((p.step_started_ns for p in parts if p.step_started_ns), default=0),
        head_queued_ns=min((p.head_queued_ns for p in parts if p.head_queued_ns), default=0),
    )
