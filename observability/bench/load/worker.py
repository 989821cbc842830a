"""One process of the load: `python -m observability.bench.load.worker`.

It sends and reads and does nothing else. It is told what to do on stdin and answers on stdout
(`job.py`); what went wrong is the last line of stderr. It ends when stdin does, so none outlives
its conductor.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from typing import TYPE_CHECKING

import anyio
import msgspec

from observability.bench.errors import BenchError
from observability.bench.load.client_lag import ClientLag
from observability.bench.load.dispatcher import Dispatcher
from observability.bench.load.endpoint import endpoint_of
from observability.bench.load.job import (
    Begin,
    Ended,
    Job,
    Progress,
    Ready,
    Results,
    Said,
    Stop,
    Told,
    line_of,
)
from observability.bench.load.line_buffer import LineBuffer
from observability.bench.load.pool import Pool
from observability.bench.load.tally import Tally

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from observability.bench.load.endpoint import Endpoint

_REPORT_S = 0.5
_MAX_WARMUP_AT_ONCE = 8
"""If nothing else limits it."""
_MAX_READ_BYTES = 2**20


class Worker:
    """Of one job. Reads from one file descriptor and writes to another; both are pipes."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self._stdin = stdin
        self._stdout = stdout

    async def run(self) -> None:
        """Until the job is done or nobody listens any more. Raises `CannotMeasure`."""
        send, receive = anyio.create_memory_object_stream[Told](3)
        with send, receive:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, send, tasks)
                job = await receive.receive()
                assert isinstance(job, Job)
                await self._work(job, receive)
                tasks.cancel_scope.cancel()

    async def _listen(self, told: MemoryObjectSendStream[Told], tasks: TaskGroup) -> None:
        lines, decoder = LineBuffer(), msgspec.json.Decoder(Told)
        while True:
            await anyio.wait_readable(self._stdin)
            data = os.read(self._stdin, _MAX_READ_BYTES)
            for line in lines.feed(data):
                await told.send(decoder.decode(line))
            if not data:
                tasks.cancel_scope.cancel()
                return

    async def _work(self, job: Job, told: MemoryObjectReceiveStream[Told]) -> None:
        endpoint = endpoint_of(job.target.endpoint)
        gc.collect()
        gc.freeze()  # the sessions stay: looking through them again and again would cost pauses
        async with Pool(job.target, endpoint.path, job.api_key) as pool:
            await self._say(await _warm_up(job, endpoint, pool))
            message = await told.receive()
            begin_s = message.at_ns / 1e9 if isinstance(message, Begin) else time.monotonic()
            tally, lag = Tally(begin_s), ClientLag(begin_s)
            if isinstance(message, Begin):
                dispatcher = Dispatcher(job.target, endpoint, pool, job.sessions)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_wait_for_stop, told, tasks)
                    tasks.start_soon(lag.watch)
                    tasks.start_soon(self._report, tally)
                    await dispatcher.run(tally, job.max_concurrency)
                    tasks.cancel_scope.cancel()
            lateness = lag.lateness(tally.send_lags_s)
            await self._say_results(tally)
            await self._say(Ended(lateness))

    async def _report(self, tally: Tally) -> None:
        while True:
            await anyio.sleep(_REPORT_S)
            await self._say_results(tally)

    async def _say_results(self, tally: Tally) -> None:
        progress = Progress(
            num_done=tally.num_done,
            num_failed=tally.num_failed,
            num_running=tally.num_running,
            num_events=tally.num_events,
        )
        await self._say(Results(tally.take_results()), progress)

    async def _say(self, *messages: Said) -> None:
        data = b"".join(map(line_of, messages))
        with anyio.CancelScope(shield=True):  # a line is never left in its middle
            # In a thread: a conductor that is slow to read must not make the load late.
            await anyio.to_thread.run_sync(_write_all, self._stdout, data)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


async def _warm_up(job: Job, endpoint: Endpoint, pool: Pool) -> Ready:
    tally = Tally(time.monotonic())
    sessions = [msgspec.structs.replace(session, due_s=None) for session in job.warmup]
    at_once = job.max_concurrency or _MAX_WARMUP_AT_ONCE
    await Dispatcher(job.target, endpoint, pool, sessions).run(tally, at_once)
    errors = [f"{one.error}: {one.detail}" for one in tally.results if one.error]
    return Ready(
        num_warm=tally.num_done, num_failed=tally.num_failed, error=errors[0] if errors else ""
    )


async def _wait_for_stop(told: MemoryObjectReceiveStream[Told], tasks: TaskGroup) -> None:
    while not isinstance(await told.receive(), Stop):
        pass
    tasks.cancel_scope.cancel()


def main() -> int:
    """The code to exit with."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
    code = 0
    try:
        anyio.run(Worker(0, 1).run)
    except* BenchError as group:
        sys.stderr.write(f"{_first(group)}\n")
        code = 1
    except* BrokenPipeError:
        code = 1  # nobody listens any more
    return code


def _first(group: BaseExceptionGroup[BenchError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
