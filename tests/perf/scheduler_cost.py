"""What the bookkeeping of a step costs: scheduler, encoding, and the tensors' preparation.

    python -m tests.perf.scheduler_cost [--rounds 7] [--profile]

A fake model draws the same token for everybody, so all that is measured is ours: `schedule` and
`XX
The figures are microseconds for each running sequence and step, medians of the steps and rounds.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from itertools import pairwise

import torch

from engine.attention.layers import LayerGroup, LayerShape
from engine.attention.paged_sdpa import SdpaBackend
from engine.batch import BatchMaker
from engine.config import SchedulerConfig
from engine.kv_cache import CacheGroup, KVCache
from engine.protocol import SamplingParams, Submit, encode, pack_token_ids
from engine.scheduler import Scheduler
from engine.step import StepResult

NUM_STEPS = 200
BLOCK_SIZE = 16
CONTEXT = 1024
PROMPT = 100
SIZES = (64, 256, 512)


def main() -> None:
    """Print one line for each number of running sequences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--profile", action="store_true", help="print where 512 sequences' time goes"
    )
    options = parser.parse_args()
    if options.profile:
        with cProfile.Profile() as profile:
            Bench(512).run()
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
        return
    torch.set_num_threads(1)
    rounds = [{size: Bench(size).run() for size in SIZES} for _ in range(options.rounds)]
    for size in SIZES:
        schedule, update, publish, batch = (
            statistics.median(values) for values in zip(*(r[size] for r in rounds), strict=True)
        )
        print(
            f"{size:4} running: schedule {schedule:.2f} + update {update:.2f} = "
            f"{schedule + update:.2f} us each; encoding {publish:.2f} us each; "
            f"tensors {batch * size:.0f} us a step"
        )


class Bench:
    """So many sequences that decode, in a steady state."""

    def __init__(self, num_running: int) -> None:
        self.num_running = num_running
        num_blocks = num_running * CONTEXT // BLOCK_SIZE
        config = SchedulerConfig(max_batch_tokens=512, max_running=num_running)
        cache = KVCache([CacheGroup(num_blocks, BLOCK_SIZE, None)], max_step_tokens=512)
        self.scheduler = Scheduler(cache, config, max_model_len=CONTEXT)
        group = LayerGroup(None, {0: LayerShape(1, 1, 1)})
        device = torch.device("cpu")
        attention = SdpaBackend([group], [num_blocks], BLOCK_SIZE, torch.float32, device)
        self.batches = BatchMaker(
            attention.cache, num_rows=num_running, max_model_len=CONTEXT, device=device
        )
        params = SamplingParams(
            CONTEXT, temperature=0, top_p=1, top_k=0, seed=0, stop_token_ids=(5,)
        )
        for index in range(num_running):
            prompt = pack_token_ids([index % 250, *range(1000, 999 + PROMPT)])
            self.scheduler.submit(Submit(str(index), prompt, params, 0), 0)

    def run(self) -> tuple[float, float, float, float]:
        """us for each sequence and step: schedule, update, encoding, tensors."""
        while self._step()[-1] < self.num_running:
            pass
        spent = [self._step()[:4] for _ in range(NUM_STEPS)]
        schedule, update, publish, batch = (
            statistics.median(times) / 1000 / self.num_running for times in zip(*spent, strict=True)
        )
        return schedule, update, publish, batch

    def _step(self) -> tuple[int, int, int, int, int]:
        times = [time.perf_counter_ns()]
        plan = self.scheduler.schedule(1)
        times.append(time.perf_counter_ns())
        self.batches.note(plan)
        self.batches.make(plan)
        times.append(time.perf_counter_ns())
        num_drawing = sum(plan.draws)
        result = StepResult([7] * num_drawing)
        times.append(time.perf_counter_ns())
        events = self.scheduler.update(plan, result, 2)
        times.append(time.perf_counter_ns())
        _ = [(request_id, encode(event)) for request_id, event in events]
        times.append(time.perf_counter_ns())
        schedule, batch, _, update, publish = (b - a for a, b in pairwise(times))
        return schedule, update, publish, batch, num_drawing


if __name__ == "__main__":
    main()
