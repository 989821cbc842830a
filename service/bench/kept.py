"""`kvorum bench list`, `show` and `delete`: runs that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.bench.figures.summary import Summary
from observability.bench.figures.table import runs_table, summary_table
from observability.bench.report.report import report_of
from observability.bench.store.select import open_store
from service.bench.options import add_store, database_of, parser_of
from service.bench.output import to_json, write_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def list_runs(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """The newest first. Raises `BenchError`."""
    parser = parser_of("list", "List the runs that were kept, the newest first.")
    parser.add_argument("--label", help="only of this label")
    parser.add_argument("--model", help="only of this model")
    parser.add_argument("--limit", type=int, default=50, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    add_store(parser)
    given = parser.parse_args(list(argv))
    with open_store(database_of(given.db, environ)) as store:
        headers = store.runs(label=given.label, model=given.model, limit=given.limit)
    if given.json:
        yield to_json(headers)
    else:
        yield runs_table(headers) if headers else "nothing is kept yet; measure with bench serve"


def show(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """One run, as it was printed when it was measured. Raises `BenchError`."""
    parser = parser_of("show", "Show a run that was kept, or write its page.")
    parser.add_argument("id", help="an id of `kvorum bench list`, its begin, or last")
    parser.add_argument("--report", metavar="FILE", help="write a page of HTML with plots")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_store(parser)
    given = parser.parse_args(list(argv))
    with open_store(database_of(given.db, environ)) as store:
        run = store.get(given.id)
    summary = Summary.of(run)
    if given.report:
        write_page(given.report, report_of(run, summary.figures(), summary.interval))
    if given.json:
        yield to_json({"run": run, "figures": summary.figures()})
    else:
        yield summary_table(run, summary)


def delete(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Raises `BenchError`."""
    parser = parser_of("delete", "Delete a run that was kept.")
    parser.add_argument("id", help="an id of `kvorum bench list` or its begin")
    add_store(parser)
    given = parser.parse_args(list(argv))
    with open_store(database_of(given.db, environ)) as store:
        yield f"deleted {store.delete(given.id)}"
