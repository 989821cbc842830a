"""Fills docs/performance.md and draws its picture from a stored run. Everything else is prose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.perf.gateway.picture import Bar, Panel, draw_picture
from tests.perf.gateway.summary import CellSummary, Spread, Verdict, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.perf.gateway.cell import Cell
    from tests.perf.gateway.run_record import RunRecord

_DOCS = Path(__file__).parents[3] / "docs"
_PAGE = _DOCS / "performance.md"
_PICTURE = _DOCS / "gateway-cost.svg"
_BEGIN = "<!-- gateway figures: written by bench-gateway -->"
_END = "<!-- end of the gateway figures -->"

_WHO = {
    "kvorum": "Kvorum",
    "hypercorn": "Hypercorn as shipped",
    "uvicorn": "Uvicorn",
    "none": "no server",
}
_WIRING = {"http/1.1": "HTTP/1.1", "h2c": "h2c", "h2 tls": "h2 over TLS", "none": "no socket"}


def write_docs(record: RunRecord) -> None:
    """Replace what stands between the marks of the page, and the picture."""
    page = _PAGE.read_text()
    before, _, rest = page.partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError(f"docs/{_PAGE.name} has lost the marks that the figures stand between")
    summaries = summarize(record.results)
    figures = "\n".join(figures_of(record, summaries))
    _PAGE.write_text(f"{before}{_BEGIN}\n{figures}\n{_END}{after}")
    _PICTURE.write_text(picture_of(record, summaries))


def figures_of(record: RunRecord, summaries: Sequence[CellSummary]) -> list[str]:
    """The lines of the part that is generated."""
    cpu = [one for one in summaries if one.cell.kind == "cpu"]
    delay = [one for one in summaries if one.cell.kind == "delay"]
    memory = [one for one in summaries if one.cell.kind == "memory"]
    return [
        f"![What a streamed token costs]({_PICTURE.name})",
        "",
        *_setting(record),
        "",
        f"In one line: {Verdict.of(summaries).line()}.",
        "",
        "### CPU of the server process for a token event, in microseconds",
        "",
        "| protocol | streams / connections | steps | Kvorum | Hypercorn as shipped | Uvicorn "
        "| no server | Hypercorn : Kvorum |",
        "|---|---|---|---|---|---|---|---|",
        *_cpu_rows(cpu),
        "",
        "### Delay from the engine's event to the client's socket, in milliseconds",
        "",
        "1000 streams of 5 token events a second.",
        "",
        "| protocol | server | steps | median | p99 | tokens delivered | client late by (p99) |",
        "|---|---|---|---|---|---|---|",
        *[_delay_row(one) for one in delay],
        "",
        "### Memory of a stream that waits in the queue, in kB",
        "",
        "| protocol | server | streams / connections | resident kB a stream |",
        "|---|---|---|---|",
        *[_memory_row(one) for one in memory],
        "",
        *_remarks(summaries),
    ]


def _setting(record: RunRecord) -> list[str]:
    machine = record.machine
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    return [
        f"Measured {record.date} at commit {record.commit}, in {record.duration_s:.0f} s, on "
        f"{machine.num_cores} cores ({machine.cpu}, {machine.memory_gb:g} GB, {machine.system}), "
        f"Python {machine.python}, {versions}. Load average before: "
        f"{record.load_average_before:.2f}; other processes took {record.other_cpu:.0%} of a core "
        "meanwhile (median of the cells).",
    ]


def _cpu_rows(summaries: Sequence[CellSummary]) -> list[str]:
    rows: dict[tuple[str, int, int, str], dict[str, CellSummary]] = {}
    bare = {_load(one.cell): one for one in summaries if one.cell.server == "none"}
    for one in summaries:
        cell = one.cell
        if cell.server == "none":
            continue
        key = (_WIRING[cell.wiring], cell.num_streams, cell.num_connections, cell.steps)
        rows.setdefault(key, {})[cell.server] = one
    lines = []
    for key in sorted(rows):
        wiring, num_streams, num_connections, steps = key
        by_server = rows[key]
        ours, stock = by_server.get("kvorum"), by_server.get("hypercorn")
        ratio = "–"
        if ours and stock and ours.has_figures and stock.has_figures:
            ratio = f"{stock.us_per_token.median / ours.us_per_token.median:.1f}"
        figures = [
            _cell_text(by_server.get(name), lambda one: one.us_per_token)
            for name in ("kvorum", "hypercorn", "uvicorn")
        ]
        figures.append(_cell_text(bare.get((num_streams, steps)), lambda one: one.us_per_token))
        place = f"{num_streams} / {num_connections}"
        lines.append(f"| {wiring} | {place} | {steps} | {' | '.join(figures)} | {ratio} |")
    return lines


def _load(cell: Cell) -> tuple[int, str]:
    return cell.num_streams, cell.steps


def _cell_text(one: CellSummary | None, value: Callable[[CellSummary], Spread]) -> str:
    if one is None:
        return "–"
    if not one.has_figures:
        return "failed †"
    spread = value(one)
    mark = " †" if one.cut else ""
    return f"**{spread.median:.1f}** ({spread.low:.1f}–{spread.high:.1f}, {one.num_rounds}){mark}"


def _delay_row(one: CellSummary) -> str:
    cell = one.cell
    return (
        f"| {_WIRING[cell.wiring]} | {_WHO[cell.server]} | {cell.steps} "
        f"| {_cell_text(one, lambda it: it.delay_p50_ms)} "
        f"| {_cell_text(one, lambda it: it.delay_p99_ms)} "
        f"| {one.share_delivered:.0%} | {one.lag_p99_ms:.2f} |"
    )


def _memory_row(one: CellSummary) -> str:
    cell = one.cell
    return (
        f"| {_WIRING[cell.wiring]} | {_WHO[cell.server]} "
        f"| {cell.num_streams} / {cell.num_connections} "
        f"| {_cell_text(one, lambda it: it.kb_per_stream)} |"
    )


def _remarks(summaries: Iterable[CellSummary]) -> list[str]:
    remarks = [f"- {_who(one.cell)}: {one.cut}." for one in summaries if one.cut]
    return ["† What went wrong:", "", *remarks] if remarks else ["No cell was cut short."]


def _who(cell: Cell) -> str:
    connections = f"{cell.num_streams} / {cell.num_connections}"
    return f"{_WHO[cell.server]}, {_WIRING[cell.wiring]}, {connections}, {cell.kind}, {cell.steps}"


def picture_of(record: RunRecord, summaries: Sequence[CellSummary]) -> str:
    """Four panels: CPU at 100 streams in two kinds of steps, delay, memory."""

    def panel(title: str, hint: str, unit: str, kind: str, value: str, steps: str = "") -> Panel:
        wanted = [
            one
            for one in summaries
            if one.cell.kind == kind
            and (not steps or (one.cell.steps == steps and one.cell.num_streams == 100))
            and (kind != "cpu" or one.cell.wiring != "h2 tls")
        ]
        return Panel(
            title, hint, unit, [_bar(one, value, is_delay=kind == "delay") for one in wanted]
        )

    machine = record.machine
    each, together = "each alone", "one step"
    return draw_picture(
        "What a streamed token costs in the gateway",
        "Same application, same events; only what stands between it and the socket differs. "
        "Shorter is better.",
        [
            panel(
                "CPU per token event: 100 streams, each token by itself",
                "h2c: all on one connection; HTTP/1.1: a connection each",
                "us",
                "cpu",
                "us_per_token",
                each,
            ),
            panel(
                "CPU per token event: 100 streams, one step for all",
                "what one batch of the engine looks like",
                "us",
                "cpu",
                "us_per_token",
                together,
            ),
            panel(
                "Delay, 99th percentile: 1000 streams of 5 tokens a second",
                "from the engine's event to the client's socket",
                "ms",
                "delay",
                "delay_p99_ms",
            ),
            panel(
                "Memory of a waiting stream",
                "resident memory of the server process, 1000 streams",
                "kB",
                "memory",
                "kb_per_stream",
            ),
        ],
        f"Medians; whiskers: lowest and highest round. {machine.num_cores} cores, {machine.cpu}, "
        f"Python {machine.python}, {record.date}.",
    )


def _bar(one: CellSummary, value: str, *, is_delay: bool) -> Bar:
    cell = one.cell
    who = f"{_WHO[cell.server]}, {_WIRING[cell.wiring]}"
    if cell.server == "none":
        who = "the application, no server"
    if is_delay:
        who = f"{_WHO[cell.server].split()[0]}, {_WIRING[cell.wiring]}, {cell.steps}"
    if not one.has_figures:
        return Bar(who, cell.server, None, note="failed")
    spread: Spread = getattr(one, value)
    note = "† see below" if one.cut else ""
    if is_delay and one.share_delivered < 0.95:
        note = f"only {one.share_delivered:.0%} delivered"
    return Bar(who, cell.server, spread.median, spread.low, spread.high, note)
