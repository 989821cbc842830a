"""`Measurement`: from what a user asks for to a `Run`: look, make the sessions, load, watch.

It tells nobody anything: its `progress` may be read while it runs.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio.to_thread
import msgspec

from observability.bench.beside import beside
from observability.bench.figures.objective import objective_of
from observability.bench.load.conductor import Conductor
from observability.bench.machine import machine_here
from observability.bench.plan import Plan, Target
from observability.bench.probe import ServerFacts, first_model, probe
from observability.bench.run import Run
from observability.bench.versions import client_versions
from observability.bench.watch.gpu_watch import GpuWatch
from observability.bench.watch.metrics_watch import MetricsWatch
from observability.bench.watch.watch_log import WatchLog
from observability.bench.workload.arrival import arrival_of, timed
from observability.bench.workload.counter import counter_of
from observability.bench.workload.named_workload import named_workload
from observability.bench.workload.prompt_maker import PromptMaker
from observability.bench.workload.select import workload_of
from observability.bench.workload.workload import Order

if TYPE_CHECKING:
    from observability.bench.load.outcome import LoadProgress
    from observability.bench.load_options import LoadOptions
    from observability.bench.turn import Session
    from observability.bench.workload.workload import Workload

_NUM_REQUESTS = 100
_NUM_WARMUP = 1
_WARMUP_SEED = 2**31
"""Away from any seed that a user says: what warms up shares no text with what is measured."""


class Measurement:
    """Used once: `prepare`, then `run`."""

    def __init__(self, options: LoadOptions, url: str, *, model: str = "", label: str = "") -> None:
        """Without a model it is the first that the server names. Raises `WrongOption`."""
        self._options = _with_named(options)
        self._url = url.rstrip("/").removesuffix("/v1")
        self._model = model
        self._label = label
        self._workload = workload_of(self._options.workload)
        words = self._options.arrival or self._workload.usual_arrival
        self._arrival_words, self._arrival = words, arrival_of(words)
        self._objective = objective_of(options.objective) if options.objective else {}
        self._conductor: Conductor | None = None
        self._plan: Plan | None = None
        self._sessions: list[Session] = []
        self._warmup: list[Session] = []
        self._server_version = ""

    @property
    def progress(self) -> LoadProgress | None:
        """None before the load."""
        return self._conductor.progress if self._conductor else None

    @property
    def num_turns(self) -> int:
        """Requests that are to be sent; 0 before `prepare`."""
        return sum(len(session.turns) for session in self._sessions)

    def stop(self) -> None:
        """End soon with what was measured so far. Without a load there is nothing to end."""
        if self._conductor:
            self._conductor.stop()

    async def prepare(self) -> None:
        """Look at the server and make what it will be asked. Raises `BenchError`."""
        await anyio.to_thread.run_sync(self._prepare)

    async def run(self) -> Run:
        """Measure. Raises `CannotMeasure`."""
        plan = self._plan
        assert plan is not None, "not prepared"
        begun_at = datetime.now(UTC)
        log = WatchLog()
        key = self._options.api_key
        watch = MetricsWatch(plan.target.url, log, api_key=key, is_insecure=plan.target.is_insecure)
        self._conductor = Conductor(
            plan.target,
            self._sessions,
            self._warmup,
            plan.max_concurrency,
            plan.num_processes,
            key,
        )
        jobs = [watch.watch]
        if _is_here(plan.target.url):
            jobs.append(GpuWatch(log).watch)
        async with self._conductor as conductor, beside(*jobs):
            outcome = await conductor.run()
        await watch.read()
        machine = await anyio.to_thread.run_sync(machine_here)
        versions = await anyio.to_thread.run_sync(client_versions)
        if self._server_version:
            versions["server"] = self._server_version
        return Run(
            id=f"{begun_at:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            label=self._label,
            begun_at=begun_at.isoformat(timespec="seconds"),
            plan=plan,
            duration_s=outcome.duration_s,
            results=outcome.results,
            samples=log.samples(outcome.begin_ns),
            lateness=outcome.lateness,
            machine=machine,
            versions=versions,
        )

    def _prepare(self) -> None:
        options = self._options
        target = Target(
            url=_without_password(self._url),
            model=self._model
            or first_model(self._url, options.api_key, is_insecure=options.is_insecure),
            endpoint=options.endpoint,
            protocol=options.protocol,
            is_insecure=options.is_insecure,
            timeout_s=options.timeout_s,
            body=options.body,
        )
        maker, facts = self._look(target)
        self._server_version = facts.version
        if facts.takes_ignore_eos and not options.may_end_early:
            body = {"ignore_eos": True} | target.body
            target = msgspec.structs.replace(target, body=body)
        order = Order(
            num_sessions=options.num_requests or _usual_number(self._workload),
            endpoint=options.endpoint,
            seed=options.seed,
            num_extra_tokens=self._num_extra_tokens(facts),
        )
        num_warmup = _NUM_WARMUP if options.num_warmup is None else options.num_warmup
        warm_order = msgspec.structs.replace(
            order, num_sessions=num_warmup, seed=options.seed + _WARMUP_SEED
        )
        sessions = self._workload.sessions(order, maker)
        self._sessions = timed(sessions, self._arrival, options.seed)
        self._warmup = self._workload.sessions(warm_order, maker) if num_warmup else []
        is_closed = self._sessions[0].due_s is None
        self._plan = Plan(
            target=target,
            workload=options.workload,
            arrival=self._arrival_words,
            num_requests=order.num_sessions,
            num_warmup=num_warmup,
            max_concurrency=options.concurrency or (1 if is_closed else None),
            num_processes=options.num_processes,
            seed=options.seed,
            objective=self._objective,
        )

    def _look(self, target: Target) -> tuple[PromptMaker | None, ServerFacts]:
        if not self._workload.needs_maker:
            return None, probe(target, self._options.api_key, None)
        counter = counter_of(self._options.tokenizer, target, self._options.api_key)
        return PromptMaker(counter), probe(target, self._options.api_key, counter.count)

    def _num_extra_tokens(self, facts: ServerFacts) -> int:
        has_system = self._options.workload.startswith("shared:")
        is_chat = self._options.endpoint == "chat"
        extra = (
            facts.num_extra_tokens_with_system if has_system and is_chat else facts.num_extra_tokens
        )
        return max(0, extra or 0)


def _with_named(options: LoadOptions) -> LoadOptions:
    """A named workload is words for all that was not said otherwise."""
    named = named_workload(options.workload)
    if named is None:
        return options
    return msgspec.structs.replace(
        options,
        workload=named.workload,
        arrival=options.arrival or named.arrival,
        concurrency=options.concurrency or named.max_concurrency,
        num_requests=options.num_requests or named.num_requests,
        num_warmup=named.num_warmup if options.num_warmup is None else options.num_warmup,
    )


def _usual_number(workload: Workload) -> int:
    available = workload.num_available
    return _NUM_REQUESTS if available is None else min(_NUM_REQUESTS, available)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
