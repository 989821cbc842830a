"""Whether ever new JSON schemas leave memory flat: in the service, its vetting worker, the engine.

    python -m tests.perf.schema_memory [--schemas 10000] [--every 2000] [--properties 8]

No two schemas are alike. The service and its worker vet them one after the other, as requests would
have it; the engine, in a process of its own, starts a row with each and draws a token. Prints each
process's resident memory in MiB after every so many. The service keeps what the worker said up to
`MAX_CACHE_BYTES`, so its memory grows until that is full.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from engine.models.registry import resolve
from engine.structured import grammar
from engine.structured.vocabulary import vocabulary_of
from service.structure import Structure
from service.structure_vetter import StructureVetter

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS: tuple[dict[str, object], ...] = (
    {"type": "string", "maxLength": 20},
    {"type": "integer", "minimum": 0},
    {"type": "array", "items": {"type": "number"}},
    {"enum": ["low", "middle", "high"]},
    {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
)


def main() -> None:
    """Print a line for every so many schemas and each process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=2000)
    parser.add_argument("--properties", type=int, default=8)
    parser.add_argument("--engine", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        run_engine(options)
        return
    print(f"{len(next(grammars(options)))} characters of grammar each; resident, MiB", flush=True)
    anyio.run(run_service, options)
    program = [sys.executable, "-m", "tests.perf.schema_memory", *sys.argv[1:], "--engine"]
    subprocess.run(program, check=True)


def grammars(options: argparse.Namespace) -> Iterator[str]:
    """One for each schema: other names, and kinds in another order."""
    for number in range(options.schemas):
        properties = {
            f"name_{number}_{index}": _KINDS[(number + index * (number % 4 + 1)) % len(_KINDS)]
            for index in range(options.properties)
        }
        required = [name for index, name in enumerate(properties) if (number >> index) % 2]
        schema = {"type": "object", "properties": properties, "required": required}
        yield grammar.of_schema({**schema, "additionalProperties": False})


async def run_service(options: argparse.Namespace) -> None:
    """The service's side: this process, and the worker that it starts."""
    card, vetter = resolve(), StructureVetter()
    vocabulary = vocabulary_of(card, card.vocab_size)
    started_s = time.monotonic()
    for count, text in enumerate(grammars(options), 1):
        await vetter.check(Structure(text, "schema"), vocabulary)
        if count % options.every == 0:
            report(count, started_s, service="self", worker=child_pid())


def run_engine(options: argparse.Namespace) -> None:
    """The engine's side: a sampler of one row."""
    import torch

    from engine.protocol import SamplingParams
    from engine.sampling.sampler import Sampler
    from engine.step import RowStart

    torch.set_num_threads(1)
    card = resolve()
    vocabulary = vocabulary_of(card, card.vocab_size)
    sampler = Sampler(1, card.vocab_size, torch.device("cpu"), vocabulary)
    logits = torch.zeros(1, card.vocab_size)
    started_s = time.monotonic()
    for count, text in enumerate(grammars(options), 1):
        params = SamplingParams(9, 1.0, 1.0, 0, count, card.eos_token_ids, grammar=text)
        sampler.start(RowStart(0, params, 0, [1], 1, scores_prompt=False))
        sampler.sample(logits, [0], [1])
        if count % options.every == 0:
            report(count, started_s, engine="self")


def child_pid() -> str:
    """The only child of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return children.split()[0]


def report(count: int, started_s: float, **processes: str) -> None:
    """`processes` have their ids by name."""
    took_ms = (time.monotonic() - started_s) * 1000 / count
    sizes = ", ".join(f"{name} {resident_mib(pid):.1f}" for name, pid in processes.items())
    print(f"{count:6} schemas: {sizes}; {took_ms:.2f} ms each", flush=True)


def resident_mib(pid: str) -> float:
    """What a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


if __name__ == "__main__":
    main()
