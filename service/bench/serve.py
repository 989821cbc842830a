"""`kvorum bench serve`: one measurement of one server."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio

from observability.bench.errors import WrongOption
from observability.bench.figures.summary import Summary
from observability.bench.figures.table import summary_table
from observability.bench.figures.threshold import thresholds_of
from observability.bench.measurement import Measurement
from observability.bench.report.report import report_of
from observability.bench.server_command import ServerCommand
from observability.bench.store.select import open_store
from service.bench.display import shown
from service.bench.options import (
    add_load,
    add_result,
    database_of,
    load_options,
    parser_of,
)
from service.bench.output import to_json, write_page

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from observability.bench.run import Run

DESCRIPTION = """\
Measure a server with an OpenAI-compatible API, Kvorum or any other, from outside. Ctrl-C ends it
early and keeps what was measured.
"""

EPILOG = """\
examples:
  kvorum bench serve --url http://127.0.0.1:8000
      100 requests of 512 tokens in and 128 out, one after the other
  kvorum bench serve --url http://127.0.0.1:8000 --workload W2 --objective ttft:500,itl:60
      a named workload: 16 users, 256 in, 128 out; how many requests meet the limits
  kvorum bench serve --start "kvorum serve --port {port}" --arrival poisson:2 --requests 200
      a server that is started for it, and visitors who come at random, 2 a second

exit codes:
  0  measured
  1  not measured, no request succeeded, or a limit of --fail-if is crossed
  2  wrong usage
"""


def serve(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Measure and keep; yields what is to be printed. Raises `BenchError`."""
    parser = parser_of("serve", DESCRIPTION, EPILOG)
    server = parser.add_argument_group("the server")
    server.add_argument("--url", metavar="URL", help="one that runs: http://127.0.0.1:8000")
    server.add_argument(
        "--start", metavar="COMMAND", help="start one, with {port} for its port, and stop it after"
    )
    server.add_argument("--model", default="", help="by its name (default: the first it lists)")
    add_load(parser)
    result = add_result(parser)
    result.add_argument("--label", default="", help="runs of one label are repeats of one thing")
    result.add_argument(
        "--fail-if",
        metavar="LIMIT",
        default="",
        help="end with 1 if a figure is beyond a value: 'p99_ttft>300'; several with commas",
    )
    given = parser.parse_args(list(argv))
    if (given.url is None) == (given.start is None):
        raise WrongOption("say either --url or --start (see `kvorum bench serve --help`)")
    thresholds = thresholds_of(given.fail_if) if given.fail_if else []
    if any(threshold.is_relative for threshold in thresholds):
        raise WrongOption("--fail-if of a change needs two to compare: see `kvorum bench compare`")
    run = anyio.run(_measure, given, environ)
    summary = Summary.of(run)
    figures = summary.figures()
    yield to_json({"id": run.id, "figures": figures}) if given.json else summary_table(run, summary)
    yield from keep(given, environ, run, summary)
    judgements = [one.judge_value(figures.get(one.name)) for one in thresholds]
    yield from (one.text for one in judgements if not given.json or one.is_failed)
    if any(one.is_failed for one in judgements) or not summary.num_good:
        raise SystemExit(1)


def keep(
    given: argparse.Namespace, environ: Mapping[str, str], run: Run, summary: Summary
) -> Iterator[str]:
    """In the database and as a page, as was said. Raises `CannotKeep`."""
    if not given.no_db:
        with open_store(database_of(given.db, environ)) as store:
            store.keep(run, summary.figures())
        if not given.json:
            yield f"kept as {run.id}: kvorum bench show {run.id}"
    if given.report:
        write_page(given.report, report_of(run, summary.figures(), summary.interval))


async def _measure(given: argparse.Namespace, environ: Mapping[str, str]) -> Run:
    options = load_options(given, environ)
    command = ServerCommand(given.start) if given.start else nullcontext()
    async with command as server:
        url = server.url if server else given.url
        measurement = Measurement(options, url, model=given.model, label=given.label)
        await measurement.prepare()
        async with shown(measurement, "measuring"):
            return await measurement.run()
