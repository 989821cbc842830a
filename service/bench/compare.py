"""`kvorum bench compare`: two servers side by side, or runs that were kept."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import msgspec

from observability.bench.errors import WrongOption
from observability.bench.figures.comparison import Comparison
from observability.bench.figures.figure import MAIN
from observability.bench.figures.permutation import MIN_PAIRS
from observability.bench.figures.summary import Summary
from observability.bench.figures.table import comparison_table
from observability.bench.figures.threshold import thresholds_of
from observability.bench.measurement import Measurement
from observability.bench.report.comparison_report import report_of_comparison
from observability.bench.server_command import ServerCommand
from observability.bench.store.select import open_store
from service.bench.display import shown
from service.bench.options import (
    add_load,
    add_result,
    body_of,
    database_of,
    load_options,
    parser_of,
)
from service.bench.output import to_json, write_page

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from observability.bench.load_options import LoadOptions
    from observability.bench.run import Run
    from observability.bench.store.store import Store

DESCRIPTION = """\
Measure two servers side by side, taking turns, and say how they differ and how sure that is; or
compare runs that were kept.
"""

EPILOG = """\
examples:
  kvorum bench compare --start-a "kvorum serve --port {port}" \\
      --start-b "transformers serve --port {port}" --model-b /models/x --workload W2
      start, measure and stop them in turns, 5 times each
  kvorum bench compare --url-a http://127.0.0.1:8000 --url-b http://127.0.0.1:9000 --repeats 6
      two that run already; from 6 repeats on what one machine drifts is taken out by pairs
  kvorum bench compare main new --fail-if 'p99_ttft>+10%'
      runs that were kept: labels or ids

exit codes:
  0  compared, and no limit of --fail-if is crossed
  1  not compared, or a limit is crossed
  2  wrong usage
"""

_MAX_KEPT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two."""

    label: str
    start: str | None
    url: str | None
    model: str
    options: LoadOptions


def compare(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Measure or read, compare; yields what is to be printed. Raises `BenchError`."""
    given = _parser().parse_args(list(argv))
    thresholds = thresholds_of(given.fail_if) if given.fail_if else []
    if given.a or given.b:
        if not (given.a and given.b):
            raise WrongOption("name two: labels or ids of runs that were kept")
        with open_store(database_of(given.db, environ)) as store:
            runs_a, runs_b = _kept(store, given.a), _kept(store, given.b)
        is_paired = False
    else:
        runs_a, runs_b = anyio.run(_measure_both, given, environ)
        is_paired = len(runs_a) >= MIN_PAIRS
    names = list(dict.fromkeys([*MAIN, *(one.name for one in thresholds)]))
    comparison = Comparison.of(runs_a, runs_b, names, is_paired=is_paired)
    if given.report:
        write_page(given.report, report_of_comparison(runs_a, runs_b, comparison))
    yield to_json(comparison) if given.json else comparison_table(comparison)
    by_name = {one.name: one for one in comparison.differences}
    judgements = [one.judge(by_name.get(one.name)) for one in thresholds]
    yield from (one.text for one in judgements if not given.json or one.is_failed)
    if any(one.is_failed for one in judgements):
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("compare", DESCRIPTION, EPILOG)
    parser.add_argument("a", nargs="?", help="a label or an id of runs that were kept")
    parser.add_argument("b", nargs="?", help="another")
    for side in "ab":
        group = parser.add_argument_group(f"server {side.upper()}")
        group.add_argument(f"--start-{side}", metavar="COMMAND", help="start it, with {port}")
        group.add_argument(f"--url-{side}", metavar="URL", help="it runs already")
        group.add_argument(f"--label-{side}", default=side.upper(), metavar="NAME")
        group.add_argument(f"--model-{side}", default="", help="(default: the first it lists)")
        group.add_argument(
            f"--body-{side}", metavar="JSON", help="fields laid over its requests, before --body"
        )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="of each, in turns (default: 5)"
    )
    parser.add_argument(
        "--keep-running",
        action="store_true",
        help="start both once and leave both running, instead of anew for each repeat",
    )
    parser.add_argument(
        "--fail-if",
        metavar="LIMIT",
        default="",
        help="end with 1: 'p99_ttft>+10%%' if B's is so much above A's; several with commas",
    )
    add_load(parser)
    add_result(parser)
    return parser


async def _measure_both(
    given: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[list[Run], list[Run]]:
    sides = [_side(given, environ, name) for name in "ab"]
    if given.repeats < 1:
        raise WrongOption("--repeats must be above 0")
    runs: tuple[list[Run], list[Run]] = ([], [])
    async with AsyncExitStack() as servers:
        urls = [side.url for side in sides]
        if given.keep_running:
            for index, side in enumerate(sides):
                if side.start:
                    server = await servers.enter_async_context(ServerCommand(side.start))
                    urls[index] = server.url
        for repeat in range(given.repeats):
            # Who comes first changes too: the second may find a warmer machine.
            for index in (0, 1) if repeat % 2 == 0 else (1, 0):
                title = f"{sides[index].label} {repeat + 1}/{given.repeats}"
                run = await _measure(sides[index], urls[index], repeat, title)
                runs[index].append(run)
                if not given.no_db:  # at once: a later one may fail
                    with open_store(database_of(given.db, environ)) as store:
                        store.keep(run, Summary.of(run).figures())
    return runs


async def _measure(side: Side, url: str | None, repeat: int, title: str) -> Run:
    async with AsyncExitStack() as stack:
        if url is None:
            assert side.start is not None
            url = (await stack.enter_async_context(ServerCommand(side.start))).url
        # Other texts in each repeat: a server that runs on must not know them from before.
        options = msgspec.structs.replace(side.options, seed=side.options.seed + repeat)
        measurement = Measurement(options, url, model=side.model, label=side.label)
        await measurement.prepare()
        await stack.enter_async_context(shown(measurement, title))
        return await measurement.run()


def _side(given: argparse.Namespace, environ: Mapping[str, str], name: str) -> Side:
    start, url, label, model, body = (
        getattr(given, f"{option}_{name}") for option in ("start", "url", "label", "model", "body")
    )
    if (start is None) == (url is None):
        raise WrongOption(
            f"say either --start-{name} or --url-{name}, or name two runs that were kept "
            "(see `kvorum bench compare --help`)"
        )
    options = load_options(given, environ)
    if body:
        options = msgspec.structs.replace(options, body=options.body | body_of(body))
    return Side(label=label, start=start, url=url, model=model, options=options)


def _kept(store: Store, name: str) -> list[Run]:
    """All runs of a label, the oldest first; or the one of an id."""
    headers = store.runs(label=name, limit=_MAX_KEPT)
    if not headers:
        return [store.get(name)]
    return [store.get(header.id) for header in reversed(headers)]
