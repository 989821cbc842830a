import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from infra.trace.layout import duration_text, rows, tick_text, ticks_ns
from infra.trace.picture import draw_picture
from infra.trace.receiver import PortTakenError, Receiver
from infra.trace.span import Event, Span
from infra.trace.trace_book import (
    MAX_OPEN_TRACES,
    MAX_SPANS_PER_TRACE,
    ORPHAN_S,
    QUIET_S,
    Trace,
    TraceBook,
)
from infra.trace.tree import draw_tree
from observability.metrics import Metrics
from observability.recorder import Recorder
from observability.tracing import Tracing
from tests.observability.records import CLOCK, REQUEST, CountingBytes

MS = 1_000_000


def span(span_id: str, parent: str, name: str, start_ms: float, end_ms: float) -> Span:
    return Span(
        trace_id="ab" * 16,
        span_id=span_id,
        parent_span_id=parent,
        service="kvorum",
        name=name,
        is_server=name.startswith("POST"),
        start_ns=int(start_ms * MS),
        end_ns=int(end_ms * MS),
        attributes={"http.response.status_code": 200} if name.startswith("POST") else {},
        events=(Event("first_token", 50 * MS),) if name == "decode" else (),
    )


SERVER = span("01", "ff", "POST /v1/chat/completions", 0, 100)
CHAT = span("02", "01", "chat mini", 0, 100)
PREFILL = span("03", "02", "prefill", 10, 50)
DECODE = span("04", "02", "decode", 50, 100)
TRACE = Trace("ab" * 16, (SERVER, CHAT, PREFILL, DECODE))


def test_a_trace_is_complete_when_its_server_span_is_there_and_nothing_more_comes() -> None:
    book = TraceBook()
    book.add([DECODE, PREFILL], now_s=0)
    assert book.finished(ORPHAN_S - 1) == []
    book.add([SERVER], now_s=5)
    assert book.finished(5 + QUIET_S / 2) == []
    book.add([CHAT], now_s=5 + QUIET_S / 2)
    assert book.finished(5 + QUIET_S) == []
    assert book.finished(5 + 2 * QUIET_S) == [TRACE]
    assert len(book) == 0


def test_a_trace_without_server_span_is_shown_late() -> None:
    book = TraceBook()
    book.add([DECODE], now_s=0)
    assert [trace.spans for trace in book.finished(ORPHAN_S)] == [(DECODE,)]


def test_the_book_stays_small_whatever_arrives() -> None:
    book = TraceBook()
    for index in range(MAX_OPEN_TRACES + 50):
        one = Span(
            trace_id=f"{index:032x}", span_id="01", name="x", start_ns=0, end_ns=1, attributes={}
        )
        book.add([one], now_s=0)
    assert len(book) == MAX_OPEN_TRACES
    many = [
        span(f"{index:016x}", "01", "decode", 0, 1) for index in range(MAX_SPANS_PER_TRACE + 50)
    ]
    book.add([*many, *many], now_s=1)
    [*_, last] = book.rest()
    assert len(last.spans) == MAX_SPANS_PER_TRACE
    assert len(book) == 0


def test_the_tree_is_drawn_with_bars_to_scale() -> None:
    assert draw_tree(TRACE, 84).splitlines() == [
        "kvorum  abababababababababababababababab  100 ms",
        "POST /v1/chat/completions │█████████████████████████████████████████│   100 ms  200",
        "└─ chat mini              │█████████████████████████████████████████│   100 ms",
        "   ├─ prefill             │    ████████████████▌                    │  40.0 ms",
        "   └─ decode              │                    ◆████████████████████│  50.0 ms",
        "                           0       20 ms   40 ms   60 ms   80 ms",
    ]


def test_colour_is_only_there_when_asked_for() -> None:
    assert "\x1b[" not in draw_tree(TRACE, 80)
    assert "\x1b[32m" in draw_tree(TRACE, 80, has_colour=True)


def test_names_from_the_network_cannot_steer_the_terminal_or_the_picture() -> None:
    hostile = Trace("cd" * 16, (span("01", "", "x\x1b[2J<script>&\x00", 0, 1),))
    assert "\x1b" not in draw_tree(hostile, 80)
    root = ElementTree.fromstring(draw_picture(hostile))
    assert not [one for one in root.iter() if one.tag.endswith("script")]


def test_broken_families_are_drawn_all_the_same() -> None:
    circle = Trace("ef" * 16, (span("01", "02", "a", 0, 1), span("02", "01", "b", 0, 1)))
    assert [(row.span.name, row.depth) for row in rows(circle)] == [("a", 0), ("b", 1)]
    two = Trace("ef" * 16, (span("01", "", "a", 0, 1), span("02", "09", "b", 0, 1)))
    assert [(row.span.name, row.depth) for row in rows(two)] == [("a", 0), ("b", 0)]
    instant = Trace("ef" * 16, (span("01", "", "a", 0, 0),))
    chain = Trace("ef" * 16, tuple(span(f"{i:x}", f"{i - 1:x}", "a", 0, 1) for i in range(1, 2000)))
    for trace in (circle, two, instant, chain):
        assert draw_tree(trace, 80)
        ElementTree.fromstring(draw_picture(trace))


def test_ticks_are_round_and_few() -> None:
    assert ticks_ns(0) == [0]
    assert ticks_ns(100) == [0, 20, 40, 60, 80, 100]
    for duration_ns in (1, 7, 999, 414 * MS, 60 * 10**9, 10**13):
        ticks = ticks_ns(duration_ns)
        assert 1 <= len(ticks) <= 6
        assert ticks[-1] <= duration_ns
    assert tick_text(50 * MS, 100 * MS) == "50 ms"


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 µs"),
        (1_500, "1.5 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (9_994_000, "9.99 ms"),
        (9_995_000, "10.0 ms"),
        (414 * MS, "414 ms"),
        (999_600_000, "1.00 s"),
        (83_210 * MS, "83.2 s"),
    ],
)
def test_durations_have_three_digits(duration_ns: int, text: str) -> None:
    assert duration_text(duration_ns) == text


def test_the_picture_is_one_svg_that_loads_nothing_and_knows_both_themes() -> None:
    text = draw_picture(TRACE)
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme:dark" in text
    assert "href" not in text
    assert "url(" not in text
    words = " ".join(one.text or "" for one in root.iter() if one.tag.endswith("text"))
    for word in ("POST /v1/chat/completions", "prefill", "decode", "40.0 ms", "80 ms"):
        assert word in words
    assert "first token after 50.0 ms" in words


@pytest.fixture
def arrived() -> SimpleQueue[ExportTraceServiceRequest]:
    return SimpleQueue()


@pytest.fixture
def receiver(arrived: SimpleQueue[ExportTraceServiceRequest]) -> Iterator[Receiver]:
    with Receiver(0, 0, arrived.put) as listening:
        yield listening


@pytest.fixture
def connection(receiver: Receiver) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", receiver.http_port, timeout=10)
    yield client
    client.close()


BODY = ExportTraceServiceRequest()
BODY.resource_spans.add().schema_url = "https://example.org"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (None, BODY.SerializeToString()),
        ("gzip", gzip.compress(BODY.SerializeToString(), mtime=0)),
        ("deflate", zlib.compress(BODY.SerializeToString())),
    ],
)
def test_http_answers_with_the_protocols_response(
    connection: http.client.HTTPConnection,
    arrived: SimpleQueue[ExportTraceServiceRequest],
    encoding: str | None,
    body: bytes,
) -> None:
    headers = PROTOBUF | ({"Content-Encoding": encoding} if encoding else {})
    connection.request("POST", "/v1/traces", body, headers)
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Type")) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(response.read()) == ExportTraceServiceResponse()
    assert arrived.get(timeout=10) == BODY


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/metrics", b"", PROTOBUF, 404),
        ("/v1/traces", b"{}", {"Content-Type": "application/json"}, 415),
        ("/v1/traces", b"", PROTOBUF | {"Content-Encoding": "br"}, 415),
        ("/v1/traces", b"\xff\xff", PROTOBUF, 400),
        ("/v1/traces", b"no gzip", PROTOBUF | {"Content-Encoding": "gzip"}, 400),
        (
            "/v1/traces",
            gzip.compress(b"", mtime=0)[:-4],
            PROTOBUF | {"Content-Encoding": "gzip"},
            400,
        ),
    ],
)
def test_http_refuses_with_a_status_message_and_goes_on(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
) -> None:
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    assert response.status == status
    assert Status.FromString(response.read()).message
    connection.request("POST", "/v1/traces", BODY.SerializeToString(), PROTOBUF)
    assert connection.getresponse().status == 200


def test_a_taken_port_is_told_with_the_option_that_changes_it(receiver: Receiver) -> None:
    with pytest.raises(PortTakenError, match=rf"{receiver.grpc_port} .* --grpc-port"):
        Receiver(receiver.grpc_port, 0, print)
    with pytest.raises(PortTakenError, match=rf"{receiver.http_port} .* --http-port"):
        Receiver(0, receiver.http_port, print)


def test_the_command_draws_a_trace_and_ends_on_interrupt(tmp_path: Path) -> None:
    svg = tmp_path / "trace.svg"
    with subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-m", "infra.trace"),
            *("--grpc-port", "0", "--http-port", "0", "--svg", str(svg)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        lines = [command.stderr.readline() for _ in range(3)]
        [word] = [word for word in lines[2].split() if word.startswith("OTEL_EXPORTER")]
        tracing = Tracing.from_environment(dict([word.split("=", 1)]))
        Recorder(tracing, Metrics([]), CLOCK, CountingBytes()).record(REQUEST)
        tracing.shutdown()
        drawn = [command.stdout.readline() for _ in range(9)]
        command.send_signal(signal.SIGINT)
        assert command.wait(10) == 0
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in drawn[0]
    assert "1184 → 96 tokens · 640 cached · preempted 1× · stop" in drawn[2]
    assert "95 steps · 2.95 ms each" in "".join(drawn)
    ElementTree.fromstring(svg.read_text(encoding="utf-8"))


def test_the_command_gives_up_on_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "infra.trace", "--grpc-port", str(port), "--http-port", "0"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"infra.trace: port {port} on 127.0.0.1 is taken")
    assert len(done.stderr.splitlines()) == 1


def test_json_lines_can_be_asked_for() -> None:
    import msgspec

    decoded = json.loads(msgspec.json.encode(TRACE))
    assert [one["name"] for one in decoded["spans"]][1:] == ["chat mini", "prefill", "decode"]
