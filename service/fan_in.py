"""Several generations as one answer, for requests with several prompts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import msgspec

from service.deltas import ChoiceDelta, ChoiceEnd, End, Started
from service.disconnect import first_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from service.deltas import AnswerEvent, AnswerSource

    Open = Callable[[], AbstractAsyncContextManager[AnswerSource]]


class FanIn:
    """An `AnswerSource`. Choices are numbered through, `Started` comes once, the `End` is the sum."""

    def __init__(self, num_sources: int, num_choices: int) -> None:
        """Each of the sources has `num_choices`."""
        self.is_over = False
        self._num_running = num_sources
        self._num_choices = num_choices
        self._has_started = False
        self._total = End(0, 0, 0)
        self._events: list[AnswerEvent] = []
        self._arrived = anyio.Event()

    async def receive(self) -> list[AnswerEvent]:
        while not self._events:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        events, self._events = self._events, []
        self.is_over = not self._num_running
        return events

    async def feed(self, place: int, open_source: Open) -> None:
        """Take in all events of one source.

        Raises:
            ApiError: it has failed.
        """
        async with open_source() as source:
            while not source.is_over:
                for event in await source.receive():
                    self._add(place * self._num_choices, event)

    def _add(self, first_choice: int, event: AnswerEvent) -> None:
        match event:
            case Started():
                if self._has_started:
                    return
                self._has_started = True
            case ChoiceDelta() | ChoiceEnd():
                choice = first_choice + event.choice
                event = msgspec.structs.replace(event, choice=choice)
            case End():
                self._num_running -= 1
                self._total = _sum(self._total, event)
                if self._num_running:
                    return
                event = self._total
        self._events.append(event)
        self._arrived.set()


@asynccontextmanager
async def fan_in(sources: Sequence[Open], num_choices: int) -> AsyncIterator[FanIn]:
    """Open all at once. If one fails all are left, and so they are if the block is left early.

    Raises whatever the sources, or the block, raise first.
    """
    merged = FanIn(len(sources), num_choices)
    try:
        async with anyio.create_task_group() as tasks:
            for place, open_source in enumerate(sources):
                tasks.start_soon(merged.feed, place, open_source)
            yield merged
            if not merged.is_over:
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # the task group wraps even a single exception
        raise first_of(group) from None


def _sum(one: End, other: End) -> End:
    return End(
        one.num_prompt_tokens + other.num_prompt_tokens,
        one.num_cached_tokens + other.num_cached_tokens,
        one.num_output_tokens + other.num_output_tokens,
        one.num_reasoning_tokens + other.num_reasoning_tokens,
    )
