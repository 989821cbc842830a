"""`Conductor`: the worker processes of a load, from their start to their results.

It deals the sessions out, gives the begin, adds up what the workers say, and leaves none behind.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from observability.bench.errors import CannotMeasure
from observability.bench.load.address import Address
from observability.bench.load.client_lag import worst_of
from observability.bench.load.job import Begin, Ended, Job, Progress, Ready, Results, Stop
from observability.bench.load.outcome import LoadProgress, Outcome
from observability.bench.load.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from observability.bench.load.job import Said
    from observability.bench.measured import Measured
    from observability.bench.plan import Target
    from observability.bench.run import Lateness
    from observability.bench.turn import Session

_LEAD_NS = 100_000_000
"""From the word to the begin, so that it has reached all workers."""


class Conductor:
    """Used once: `async with Conductor(...) as conductor: outcome = await conductor.run()`.

    Sessions go to the workers like cards, in their order; so do the places of `max_concurrency`
    (each worker keeps to its own share, so a place that is free with one does not help another).
    There are never more workers than places or sessions.
    """

    def __init__(
        self,
        target: Target,
        sessions: Sequence[Session],
        warmup: Sequence[Session] = (),
        max_concurrency: int | None = None,
        num_processes: int = 1,
        api_key: str | None = None,
    ) -> None:
        """Raises `CannotMeasure` if the target's URL is none, or there is nothing to do."""
        Address.of(target.url)
        if not sessions:
            raise CannotMeasure("there are no requests to send; ask for at least one")
        if min(num_processes, 1 if max_concurrency is None else max_concurrency) < 1:
            raise CannotMeasure("a load takes at least one process and a concurrency of 1")
        self.progress = LoadProgress()
        self.begin_ns: int | None = None
        """Time 0 on CLOCK_MONOTONIC; None before the begin is set."""
        self._jobs = _jobs_of(target, sessions, warmup, max_concurrency, num_processes, api_key)
        self._workers: list[WorkerProcess] = []
        self._news: list[Progress | None] = [None] * len(self._jobs)
        self._ready: list[Ready] = []
        self._all_ready = anyio.Event()
        self._stopped = anyio.Event()
        self._results: list[Measured] = []
        self._lateness: list[Lateness] = []

    @property
    def pids(self) -> list[int]:
        """Of the workers, to watch their CPU time."""
        return [worker.pid for worker in self._workers]

    async def __aenter__(self) -> Conductor:
        """Start the workers. Raises `CannotMeasure`."""
        try:
            for _ in self._jobs:
                self._workers.append(await WorkerProcess.start())
        except BaseException as error:
            await self._kill()
            if isinstance(error, OSError):
                raise CannotMeasure(f"no worker process can be started: {error}") from None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._kill()

    def stop(self) -> None:
        """End `run` soon with what was measured so far.

        Sessions that have not begun are dropped. Requests in flight are broken off and leave no
        result: they are neither good nor failed. Before the begin there is nothing to keep: `run`
        raises.
        """
        self._stopped.set()

    async def run(self) -> Outcome:
        """Warm up, measure, and give everything once all requests have ended.

        Raises `CannotMeasure` if a worker dies, if all of the warm-up failed, or if it was stopped
        before the begin. Cancelled it leaves the workers to the end of the block, which kills them.
        """
        failed: CannotMeasure | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._stop_when_told)
                async with anyio.create_task_group() as talks:
                    for number, job in enumerate(self._jobs):
                        talks.start_soon(self._talk, number, job)
                    await self._begin()
                tasks.cancel_scope.cancel()
        except* CannotMeasure as group:
            failed = _first(group)
        if failed is not None:
            raise failed from None
        assert self.begin_ns is not None
        return Outcome(
            results=sorted(self._results, key=lambda one: (one.session, one.turn)),
            duration_s=max((one.end_s for one in self._results), default=0.0),
            begin_ns=self.begin_ns,
            lateness=worst_of(self._lateness),
        )

    async def _begin(self) -> None:
        await self._all_ready.wait()
        num_warm = sum(ready.num_warm for ready in self._ready)
        if num_warm and num_warm == sum(ready.num_failed for ready in self._ready):
            error = next(ready.error for ready in self._ready if ready.error)
            raise CannotMeasure(f"no request of the warm-up was answered well: {error}")
        self.begin_ns = time.monotonic_ns() + _LEAD_NS
        for worker in self._workers:
            await worker.tell(Begin(self.begin_ns))

    async def _stop_when_told(self) -> None:
        await self._stopped.wait()
        if self.begin_ns is None:
            raise CannotMeasure("stopped before anything was measured")
        for worker in self._workers:
            await worker.tell(Stop())

    async def _talk(self, number: int, job: Job) -> None:
        """With one worker. Raises `CannotMeasure` if it ends before it has said all."""
        worker = self._workers[number]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.listen_to_stderr)
            tasks.start_soon(worker.tell, job)
            while news := await worker.hear():
                for said in news:
                    self._take(number, said)
                if isinstance(news[-1], Ended):
                    tasks.cancel_scope.cancel()
                    return
        raise CannotMeasure(f"a worker process ended in the middle: {await worker.end_of_it()}")

    def _take(self, number: int, said: Said) -> None:
        match said:
            case Ready():
                self._ready.append(said)
                if len(self._ready) == len(self._jobs):
                    self._all_ready.set()
            case Progress():
                self._news[number] = said
                self._add_up()
            case Results():
                self._results.extend(said.results)
            case Ended():
                self._lateness.append(said.lateness)

    def _add_up(self) -> None:
        news = [one for one in self._news if one is not None]
        progress = self.progress
        progress.num_done = sum(one.num_done for one in news)
        progress.num_failed = sum(one.num_failed for one in news)
        progress.num_running = sum(one.num_running for one in news)
        progress.num_events = sum(one.num_events for one in news)
        if self.begin_ns is not None:
            progress.elapsed_s = max(0.0, (time.monotonic_ns() - self.begin_ns) / 1e9)

    async def _kill(self) -> None:
        with anyio.CancelScope(shield=True):
            for worker in self._workers:
                await worker.aclose()
            self._workers.clear()


def _jobs_of(
    target: Target,
    sessions: Sequence[Session],
    warmup: Sequence[Session],
    max_concurrency: int | None,
    num_processes: int,
    api_key: str | None,
) -> list[Job]:
    num_jobs = min(num_processes, len(sessions), max_concurrency or num_processes)
    return [
        Job(
            target=target,
            sessions=list(sessions[number::num_jobs]),
            warmup=list(warmup[number::num_jobs]),
            max_concurrency=_share(max_concurrency, number, num_jobs),
            api_key=api_key,
        )
        for number in range(num_jobs)
    ]


def _share(places: int | None, number: int, num_jobs: int) -> int | None:
    if places is None:
        return None
    return places // num_jobs + (number < places % num_jobs)


def _first(group: BaseExceptionGroup[CannotMeasure]) -> CannotMeasure:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, CannotMeasure)
    return error
