"""`kvorum bench latency`: the engine alone, as a share of what the machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

from engine.bench.latency import Cell, Latencies, LatencyCell
from engine.bench.latency_table import HEAD, cell_line, explanation, machine_lines
from engine.errors import StartupError
from engine.models.errors import ModelError
from observability.bench.errors import CannotMeasure, WrongOption
from service.bench.output import to_json
from service.local_model import find_local
from service.models.register import register
from service.settings import SettingsError
from service.settings_load import flag_parser, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.config import EngineConfig
    from service.settings import Settings

DESCRIPTION = """\
Measure the engine without HTTP: a decode step by batch, the prefill of prompts by length, each also
as a share of what reading the weights or computing with them takes on this machine at the least.
Takes the flags of `kvorum serve`.
"""

EPILOG = """\
examples:
  kvorum bench latency
      the embedded model
  kvorum bench latency ./my-model --dtype bfloat16 --batch 1,8,32 --context 512 --prompt 128,2048
"""


def latency(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yields what is to be printed, each cell as it is done. Raises `BenchError`."""
    parser = flag_parser("kvorum bench latency", DESCRIPTION, EPILOG)
    cells_group = parser.add_argument_group("what is measured")
    cells_group.add_argument("--batch", default="1,8,32", help="of decodes (default: 1,8,32)")
    cells_group.add_argument("--context", default="512", help="of decodes, tokens (default: 512)")
    cells_group.add_argument("--prompt", default="128,512", help="tokens (default: 128,512)")
    cells_group.add_argument("--repeats", type=int, default=9, metavar="N", help="(default: 9)")
    cells_group.add_argument("--json", action="store_true", help="print JSON, for programs")
    try:
        config = _config(load(argv, environ, parser=parser).settings)
        given = parser.parse_flags(argv)
    except (SettingsError, ModelError) as error:
        raise WrongOption(str(error)) from None
    cells = [
        *(
            Cell(kind="decode", batch=batch, length=length)
            for length in _numbers("--context", given["context"])
            for batch in _numbers("--batch", given["batch"])
        ),
        *(
            Cell(kind="prefill", batch=1, length=length)
            for length in _numbers("--prompt", given["prompt"])
        ),
    ]
    (num_repeats,) = _numbers("--repeats", str(given["repeats"]))
    try:
        latencies = Latencies.load(config, cells, num_repeats)
    except StartupError as error:
        raise CannotMeasure(str(error)) from None
    yield from _report(latencies, cells, is_json=given["json"])


def _report(latencies: Latencies, cells: Sequence[Cell], *, is_json: bool) -> Iterator[str]:
    done: list[LatencyCell] = []
    if not is_json:
        yield machine_lines(latencies.ready, latencies.num_threads, latencies.ceiling)
        yield f"\n{HEAD}"
    bar = tqdm(latencies.measure(cells), total=len(cells), disable=None, leave=False)
    for one in bar:
        done.append(one)
        if not is_json:
            bar.clear()
            yield cell_line(one)
    if is_json:
        yield to_json({"model": latencies.ready, "ceiling": latencies.ceiling, "cells": done})
    else:
        yield f"\n{explanation(done)}"


def _config(settings: Settings) -> EngineConfig:
    card = find_local(settings.model.model, settings.model.served_model_name)
    return next(iter(register(settings, card))).config


def _numbers(option: str, words: str) -> list[int]:
    try:
        numbers = [int(word) for word in words.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise WrongOption(f"{option} takes whole numbers above 0 with commas: {option} 1,8,32")
    return numbers
