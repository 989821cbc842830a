"""What drawing a step's tokens costs, against sorting the vocabulary as the sampler did before.

    python -m tests.perf.sampling [--rounds 7] [--vocabulary 32000 151936] [--rows 1 8 32 256]
                                 [--threads 1] [--parts]

Prints one line for each case, the median in microseconds a row: of the sampler, and of `by_sorting`
where it can do the same. The cases' rounds are interleaved. Logits are random with a hundred
likely tokens in front, so that 256 candidates reach top-p; in the case `flat` they do not. Time is
the process's own on the processor, so that neighbours disturb it little; with more than one thread
it is the sum of all. `--parts` compares ways to do the parts of the work instead.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch

from engine.protocol import SamplingParams
from engine.sampling.chunks import Chunks
from engine.sampling.filters import Draws, pick_among_all
from engine.sampling.noise import uniform
from engine.sampling.sampler import Sampler
from engine.sampling.weights import ceiling, draw, draw_of, exponents, weigh
from engine.step import RowStart

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = list(range(500, 1000))
NAMED = tuple(range(100, 120))

CASES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 0.7},
    "min_p": {"min_p": 0.05},
    "top_k 50": {"top_k": 50},
    "top_p 0.95": {"top_p": 0.95},
    "top_k 50, top_p 0.9": {"top_k": 50, "top_p": 0.9, "temperature": 0.8},
    "flat, top_p 0.95": {"top_p": 0.95, "temperature": 8.0},
    "top_k 1000": {"top_k": 1000},
    "greedy, penalties": {"temperature": 0.0, "repetition_penalty": 1.1, "presence_penalty": 0.5},
    "greedy, bias and bans": {
        "temperature": 0.0,
        "logit_bias": tuple((token, 1.0) for token in NAMED),
        "banned_token_ids": NAMED,
    },
    "greedy, 20 logprobs": {"temperature": 0.0, "num_logprobs": 20},
}
_NOT_BY_SORTING = ("min_p", "penalties", "bias", "logprobs")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[32000, 151936])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 256])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; us/row, medians")
    for vocab_size in options.vocabulary:
        for num_rows in options.rows:
            logits = likely_logits(num_rows, vocab_size)
            if options.parts:
                medians = measure(part_runs(logits), options.rounds)
                report_parts(vocab_size, num_rows, medians)
                continue
            runs: dict[tuple[str, str], Callable[[], object]] = {}
            for case in options.cases:
                runs[case, "sampler"] = sampler_run(logits, CASES[case])
                if not any(word in case for word in _NOT_BY_SORTING):
                    runs[case, "sorting"] = sorting_run(logits, CASES[case])
            report(vocab_size, num_rows, measure(runs, options.rounds))


def likely_logits(num_rows: int, vocab_size: int) -> torch.Tensor:
    """float32 [rows, vocabulary]."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num_rows, vocab_size, generator=generator) * 2
    at = torch.randint(vocab_size, (num_rows, 100), generator=generator)
    return logits.scatter_add_(1, at, torch.rand(at.shape, generator=generator) * 12 + 8)


def sampler_run(logits: torch.Tensor, params: dict[str, Any]) -> Callable[[], object]:
    """One step of the sampler, all rows alike."""
    num_rows, vocab_size = logits.shape
    sampler = Sampler(num_rows, vocab_size, logits.device)
    defaults = {"max_tokens": 9, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    for row in range(num_rows):
        of_row = SamplingParams(**{**defaults, **params, "seed": row})
        sampler.start(RowStart(row, of_row, 0, PROMPT, len(PROMPT), False))
    rows, positions = list(range(num_rows)), [len(PROMPT)] * num_rows
    return lambda: sampler.sample(logits, rows, positions)


def sorting_run(logits: torch.Tensor, params: dict[str, Any]) -> Callable[[], object]:
    """The same by sorting."""
    return lambda: by_sorting(
        logits,
        temperature=params.get("temperature", 1.0),
        top_k=params.get("top_k", 0),
        top_p=params.get("top_p", 1.0),
    )


def by_sorting(
    logits: torch.Tensor, *, temperature: float, top_k: int, top_p: float
) -> list[int | None]:
    """The sampler of version 0.1.0: a stable sort, and a cumulative sum of all in float64."""
    peak, tokens = logits.max(dim=-1)
    if temperature:
        noise = torch.tensor([uniform(row, 0, 500) for row in range(len(logits))]).double()
        rows = torch.arange(len(logits))
        weights = ((logits[rows] - peak[rows][:, None]) / temperature).exp_()
        if top_k or top_p < 1:
            ordered, order = weights.sort(dim=-1, descending=True, stable=True)
            ranks = torch.arange(weights.shape[-1])[None]
            if top_k:
                ordered = ordered.masked_fill(ranks >= top_k, 0)
            before = ordered.cumsum(dim=-1) - ordered
            beyond = before >= top_p * ordered.sum(dim=-1, keepdim=True)
            ordered = ordered.masked_fill(beyond & (ranks > 0), 0)
            weights = torch.zeros_like(weights).scatter_(-1, order, ordered)
        cumulative = weights.double().cumsum(dim=-1)
        tokens = torch.searchsorted(cumulative, noise[:, None] * cumulative[:, -1:], right=True)
    return list(tokens.flatten().tolist())


def part_runs(logits: torch.Tensor) -> dict[tuple[str, str], Callable[[], object]]:
    """Ways to do the same, by (part, way)."""
    num_rows, vocab_size = logits.shape
    chunks, chunks_64 = Chunks(vocab_size, 128), Chunks(vocab_size, 64)
    peak = logits.amax(-1, keepdim=True)
    ones = torch.ones(num_rows, dtype=torch.float64)
    weights = weigh(exponents(logits, peak, torch.ones(num_rows, 1)), ceiling(vocab_size))
    noise = ones * 0.3
    draws = Draws(ones * 8, noise, ones * 0, ones * 0.95, ones * -torch.inf)
    top_50 = logits.topk(50)

    def invert_all() -> torch.Tensor:
        cumulative = weights.double().cumsum(-1)
        return torch.searchsorted(cumulative, noise[:, None] * cumulative[:, -1:], right=True)

    return {
        ("peak", "max"): lambda: logits.max(-1),
        ("peak", "amax"): lambda: logits.amax(-1),
        ("argmax", "argmax"): lambda: logits.argmax(-1),
        ("argmax", "pieces of 128"): lambda: chunks.argmax(logits),
        ("invert", "float64 cumsum of all"): invert_all,
        ("invert", "two levels"): lambda: draw(weights, noise),
        ("invert", "50 candidates"): lambda: draw_of(top_50.values, top_50.indices, noise),
        ("top 51", "topk"): lambda: logits.topk(51),
        ("top 51", "pieces of 64"): lambda: chunks_64.top(logits, 51),
        ("top 51", "pieces of 128"): lambda: chunks.top(logits, 51),
        ("top 256", "topk"): lambda: logits.topk(256),
        ("top 256", "pieces of 64"): lambda: chunks_64.top(logits, 256),
        ("top 256", "pieces of 128"): lambda: chunks.top(logits, 256),
        ("flat top_p", "sort"): lambda: logits.sort(-1, descending=True),
        ("flat top_p", "histogram, all"): lambda: pick_among_all(logits, peak[:, 0], draws),
        ("weights", "exp"): lambda: logits.exp(),
        ("weights", "exp2"): lambda: logits.exp2(),
        ("weights", "sub div exp mul round"): lambda: weigh(
            exponents(logits, peak, torch.ones(num_rows, 1)), ceiling(vocab_size)
        ),
    }


def report_parts(vocab_size: int, num_rows: int, medians: dict[tuple[str, str], float]) -> None:
    """One line for each way."""
    print(f"\nV = {vocab_size}, B = {num_rows}")
    for (part, way), seconds in medians.items():
        print(f"  {part:12}{way:24}{seconds / num_rows * 1e6:10.1f}", flush=True)


def measure(
    runs: dict[tuple[str, str], Callable[[], object]], rounds: int
) -> dict[tuple[str, str], float]:
    """Median seconds of each run."""
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for round_ in range(rounds + 1):
        for key, run in runs.items():
            start = time.process_time()
            run()
            if round_:  # the first warms up
                seconds[key].append(time.process_time() - start)
    return {key: statistics.median(values) for key, values in seconds.items()}


def report(vocab_size: int, num_rows: int, medians: dict[tuple[str, str], float]) -> None:
    """One line for each case."""
    print(f"\nV = {vocab_size}, B = {num_rows}")
    for case, who in medians:
        if who == "sampler":
            mine = medians[case, who] / num_rows * 1e6
            other = medians.get((case, "sorting"), 0.0) / num_rows * 1e6
            ratio = f"{other:10.0f} {other / mine:7.1f}x" if other else ""
            print(f"  {case:22}{mine:10.0f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
