"""How long the engine takes by itself: scheduling, forward pass, sampling; no HTTP, no waiting.

The real scheduler and the real runner, one step after the other in this thread. Prompts share
nothing, so nothing comes from the prefix cache.
"""

from __future__ import annotations

import random
import statistics
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import torch
import transformers

from engine.bench.ceiling import measure_ceiling
from engine.bench.cost import Cost, ModelShape
from engine.config import CacheConfig, EngineConfig
from engine.device import choose_device
from engine.model_engine import ModelEngine
from engine.models.loader import load
from engine.protocol import Failed, SamplingParams, Submit, Tokens, pack_token_ids
from observability.bench.errors import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.bench.ceiling import Ceiling
    from engine.runner import LoadedModel
    from engine.scheduler import Addressed

Result = TypeVar("Result")

NUM_WARM_STEPS = 3


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: the decode of a batch behind a context, or the prefill of prompts."""

    kind: Literal["prefill", "decode"]
    batch: int
    length: int
    """Tokens of each sequence: behind it (decode), or to compute (prefill)."""


class LatencyCell(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of a decode step, or of a whole prefill with its first token."""

    cell: Cell
    num_repeats: int
    median_ms: float
    min_ms: float
    max_ms: float
    tokens_per_s: float
    """Of the median: output tokens of a decode, prompt tokens of a prefill."""
    share: float | None
    """Of the machine's ceiling: the least time it could take by the time it took. None for models
    whose least is not counted."""
    bound: str = ""
    """What the least time is of: "bytes" or "operations"."""


class InThisThread:
    """`engine.device.Device` without a thread: nothing else is to be done meanwhile."""

    def __enter__(self) -> InThisThread:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def run(self, work: Callable[[], Result]) -> Result:
        return work()


def config_for(config: EngineConfig, cells: Sequence[Cell], num_repeats: int) -> EngineConfig:
    """With a cache that holds the largest of the cells, and no smaller than it was."""
    size = config.cache.block_size
    # Less than a sequence of full length is no cache to the loader; without a length 128 tokens.
    num_blocks = -(-(config.max_model_len or 128) // size)
    for cell in cells:
        num_tokens = num_tokens_for(cell, config.scheduler.max_batch_tokens, num_repeats)
        each = -(-(cell.length + num_tokens) // size) + 1
        num_blocks = max(num_blocks, cell.batch * each)
    cache = CacheConfig(size, max(num_blocks, config.cache.num_blocks))
    return msgspec.structs.replace(config, cache=cache)


class Latencies:
    """Measures cells on one loaded model, in the thread that has loaded it."""

    def __init__(
        self,
        loaded: LoadedModel,
        config: EngineConfig,
        ceiling: Ceiling,
        shape: ModelShape | None,
        *,
        num_repeats: int,
    ) -> None:
        self.ready = loaded.ready
        self.ceiling = ceiling
        self.num_threads = torch.get_num_threads()
        self._engine = ModelEngine(loaded, config.scheduler, InThisThread(), time.monotonic_ns)
        self._shape = shape
        self._num_repeats = num_repeats
        self._draw = random.Random(0)
        self._num_submits = 0

    @classmethod
    def load(cls, config: EngineConfig, cells: Sequence[Cell], num_repeats: int) -> Latencies:
        """Load the model, with a cache that holds each cell, and measure what the machine can do.

        Raises:
            StartupError: as the server would.
        """
        config = config_for(config, cells, num_repeats)
        loaded = load(config, lambda _: None)
        ceiling = measure_ceiling(
            torch.device(choose_device(config.device)), getattr(torch, loaded.ready.dtype)
        )
        card_config = transformers.AutoConfig.from_pretrained(
            config.card.path, trust_remote_code=False, local_files_only=True
        )
        shape = ModelShape.of(loaded.ready, [window for _, window in loaded.groups], card_config)
        return cls(loaded, config, ceiling, shape, num_repeats=num_repeats)

    def measure(self, cells: Sequence[Cell]) -> Iterator[LatencyCell]:
        """Each as it is done. Raises `CannotMeasure` for one that the engine refuses."""
        for cell in cells:
            yield self._decode(cell) if cell.kind == "decode" else self._prefill(cell)

    def _decode(self, cell: Cell) -> LatencyCell:
        """Steps in which each of the batch draws, and none is prefilled."""
        submits = self._submit(
            cell, num_tokens_for(cell, self.ready.max_batch_tokens, self._num_repeats)
        )
        step = self._step()
        num_drawn = step.num_drawn
        # The work ends where there are fewer places than sequences: the first make room for others.
        while step.num_drawn < cell.batch and self._engine.scheduler.has_work:
            step = self._step()
            num_drawn += step.num_drawn
        warm = [self._step() for _ in range(NUM_WARM_STEPS)]
        steps = [self._step() for _ in range(self._num_repeats)]
        self._abort(submits)
        if any(one.num_drawn != cell.batch for one in steps):
            raise CannotMeasure(
                f"{cell.batch} sequences of {cell.length} tokens do not run at once: raise "
                "--max-running or --max-batch-tokens, or lower --batch"
            )
        num_seen = cell.batch * (cell.length + len(warm) + len(steps) // 2) + num_drawn
        cost = self._cost(
            num_steps=1,
            num_tokens=cell.batch,
            num_drawn=cell.batch,
            num_seen=num_seen,
            num_read=num_seen,
        )
        return self._cell(cell, [one.seconds for one in steps], cell.batch, cost)

    def _prefill(self, cell: Cell) -> LatencyCell:
        """From nothing to the first token of each."""
        times_s, num_steps = [], 0
        for repeat in range(self._num_repeats + 1):
            submits = self._submit(cell, 1)
            steps = [self._step()]
            while sum(one.num_drawn for one in steps) < cell.batch:
                steps.append(self._step())
            self._abort(submits)
            if repeat:  # the first warms up
                times_s.append(sum(one.seconds for one in steps))
                num_steps = len(steps)
        num_tokens = cell.batch * cell.length
        cost = self._cost(
            num_steps=num_steps,
            num_tokens=num_tokens,
            num_drawn=cell.batch,
            num_seen=cell.batch * cell.length * (cell.length + 1) // 2,
            num_read=num_tokens,
        )
        return self._cell(cell, times_s, num_tokens, cost)

    def _cost(self, **numbers: int) -> Cost | None:
        return None if self._shape is None else Cost.of(self._shape, **numbers)

    def _cell(
        self, cell: Cell, times_s: list[float], num_tokens: int, cost: Cost | None
    ) -> LatencyCell:
        median_s = statistics.median(times_s)
        least_s, bound = cost.least_s(self.ceiling) if cost else (0.0, "")
        return LatencyCell(
            cell=cell,
            num_repeats=len(times_s),
            median_ms=median_s * 1e3,
            min_ms=min(times_s) * 1e3,
            max_ms=max(times_s) * 1e3,
            tokens_per_s=num_tokens / median_s,
            share=least_s / median_s if cost else None,
            bound=bound,
        )

    def _submit(self, cell: Cell, num_tokens: int) -> list[str]:
        params = SamplingParams(num_tokens, temperature=0.0, top_p=1.0, top_k=0, seed=0)
        request_ids = []
        for _ in range(cell.batch):
            prompt = self._draw.choices(range(self.ready.vocab_size), k=cell.length)
            self._num_submits += 1
            submit = Submit(
                str(self._num_submits), pack_token_ids(prompt), params, time.monotonic_ns()
            )
            request_ids.append(submit.request_id)
            _raise_failed(self._engine.scheduler.submit(submit, time.monotonic_ns()))
        return request_ids

    def _step(self) -> _Step:
        events: list[Addressed] = []
        began_s = time.perf_counter()
        with suppress(StopIteration):  # nothing in it waits, so no loop is needed
            self._engine.step(events).send(None)
        seconds = time.perf_counter() - began_s
        _raise_failed(events)
        return _Step(seconds, sum(isinstance(event, Tokens) for _, event in events))

    def _abort(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self._engine.scheduler.abort(request_id, "abort")


class _Step(msgspec.Struct, frozen=True):
    seconds: float
    num_drawn: int


def num_tokens_for(cell: Cell, max_batch_tokens: int, num_repeats: int) -> int:
    """Output tokens that the first of a batch may have drawn when the last has been measured."""
    num_steps = 1 if cell.kind == "prefill" else num_repeats + NUM_WARM_STEPS + 2
    return num_steps + 2 * -(-cell.batch * cell.length // max_batch_tokens)


def _raise_failed(events: list[Addressed]) -> None:
    for _, event in events:
        if isinstance(event, Failed):
            raise CannotMeasure(f"the engine refuses it: {event.message}")
