"""`python -m infra.trace`: listen, and draw every trace that completes."""

import argparse
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import msgspec

from infra.trace.picture import draw_picture
from infra.trace.receiver import HOST, PortTakenError, Receiver
from infra.trace.span import spans_of
from infra.trace.trace_book import Trace, TraceBook
from infra.trace.tree import draw_tree

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_POLL_S: Final = 0.1
_WIDTH_WITHOUT_TERMINAL: Final = 120


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted; 1 if a port is taken."""
    options = _parser().parse_args(arguments)
    arrived: SimpleQueue[ExportTraceServiceRequest] = SimpleQueue()
    try:
        receiver = Receiver(options.grpc_port, options.http_port, arrived.put)
    except PortTakenError as error:
        print(f"infra.trace: {error}", file=sys.stderr)
        return 1
    with receiver:
        _greet(receiver)
        with suppress(KeyboardInterrupt):
            _run(arrived, options.json, options.svg)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.trace", description="Receive OTLP traces and draw them."
    )
    parser.add_argument("--grpc-port", type=int, default=4317, help="0 takes a free port")
    parser.add_argument("--http-port", type=int, default=4318, help="0 takes a free port")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each trace")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the latest trace into FILE")
    return parser


def _greet(receiver: Receiver) -> None:
    """On stderr, so that stdout holds traces only."""
    print(
        f"Listening for OTLP on {HOST}: gRPC on {receiver.grpc_port}, HTTP on {receiver.http_port}."
        f"\nStart the server in another terminal (the delay is how long it gathers spans):\n"
        f"  OTEL_EXPORTER_OTLP_ENDPOINT=http://{HOST}:{receiver.grpc_port}"
        f" OTEL_BSP_SCHEDULE_DELAY=200 make serve",
        file=sys.stderr,
        flush=True,
    )


def _run(
    arrived: "SimpleQueue[ExportTraceServiceRequest]", is_json: bool, svg: Path | None
) -> None:
    book = TraceBook()
    try:
        while True:
            with suppress(Empty):
                book.add(spans_of(arrived.get(timeout=_POLL_S)), time.monotonic())
            _show(book.finished(time.monotonic()), is_json, svg)
    except KeyboardInterrupt:
        _show(book.rest(), is_json, svg)
        raise


def _show(traces: list[Trace], is_json: bool, svg: Path | None) -> None:
    if traces and svg is not None:
        svg.write_text(draw_picture(traces[-1]), encoding="utf-8")
    for trace in traces:
        if is_json:
            print(msgspec.json.encode(trace).decode(), flush=True)
        else:
            is_terminal = sys.stdout.isatty()
            columns = shutil.get_terminal_size().columns if is_terminal else _WIDTH_WITHOUT_TERMINAL
            print(draw_tree(trace, columns, has_colour=is_terminal), flush=True)


if __name__ == "__main__":
    sys.exit(main())
