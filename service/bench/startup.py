"""`kvorum bench startup`: from the command to the first token."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import anyio
from tqdm import tqdm

from observability.bench.errors import WrongOption
from observability.bench.startup import Startup, measure_startup
from observability.bench.startup_table import startup_table
from service.bench.options import parser_of
from service.bench.output import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DESCRIPTION = """\
Start a server again and again: wall time and CPU time of all its processes until it answers, is
ready, and has given a first token; its peak memory; how long it takes to stop.
"""

EPILOG = """\
examples:
  kvorum bench startup
      Kvorum with the embedded model
  kvorum bench startup "kvorum serve ./my-model --port {port}" --repeats 9
"""


def startup(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yields what is to be printed. Raises `BenchError`."""
    parser = parser_of("startup", DESCRIPTION, EPILOG)
    parser.add_argument("command", nargs="?", help="with {port} (default: kvorum serve)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="(default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    given = parser.parse_args(list(argv))
    if given.repeats < 1:
        raise WrongOption("--repeats must be above 0")
    own = f"{shlex.quote(sys.executable)} -m service serve --port {{port}}"
    startups = anyio.run(_measure, given.command or own, given.repeats)
    yield to_json(startups) if given.json else startup_table(startups)


async def _measure(words: str, num_repeats: int) -> list[Startup]:
    repeats = tqdm(range(num_repeats), desc="starting", disable=None)
    return [await measure_startup(words) for _ in repeats]
