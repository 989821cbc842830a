import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from observability.metrics import Metrics
from observability.recorder import Recorder
from observability.tracing import Tracing
from tests.observability.records import CLOCK, REQUEST, CountingBytes

OFF = """
import sys
from observability.metrics import Metrics
from observability.recorder import Recorder
from observability.tracing import Tracing
from tests.observability.records import CLOCK, REQUEST, CountingBytes

tracing = Tracing.from_environment({environ!r})
Recorder(tracing, Metrics([]), CLOCK, CountingBytes()).record(REQUEST)
tracing.shutdown()
assert not tracing.is_enabled
assert tracing.counts.recorded == 0
print([name for name in sys.modules if name.startswith(("opentelemetry", "grpc", "google"))])
"""


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_SERVICE_NAME": "kvorum"},
    ],
)
def test_without_an_exporter_nothing_of_opentelemetry_is_imported(environ: dict[str, str]) -> None:
    code = OFF.format(environ=environ)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers; closing it ends whoever waits on it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def exporting_to(port: int, protocol: str) -> Tracing:
    return Tracing.from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "7",  # a batch at once, so that an export hangs
        }
    )


def record_and_stop(tracing: Tracing) -> float:
    """Record 300 requests, stop, and give back how long the stop took."""
    recorder = Recorder(tracing, Metrics([]), CLOCK, CountingBytes())
    begin = time.perf_counter()
    for _ in range(300):
        recorder.record(REQUEST)
    record_s = (time.perf_counter() - begin) / 300
    assert record_s < 0.005  # typically 0.0002; the bound is for a busy machine
    begin = time.perf_counter()
    tracing.shutdown(deadline_s=1.0)
    return time.perf_counter() - begin


def await_exporter_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(("Otel", "kvorum-telemetry")):
            thread.join(20)
            assert not thread.is_alive()
    gc.collect()  # a socket left open would warn here, and a warning is an error


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_is_down_costs_neither_requests_nor_the_shutdown(
    protocol: str, closed_port: int
) -> None:
    tracing = exporting_to(closed_port, protocol)
    assert (
        record_and_stop(tracing) < 2.5
    )  # 1 s, and room for a busy machine; the SDK takes 10 to 30
    assert (tracing.counts.recorded, tracing.counts.exported) == (2100, 0)
    assert tracing.counts.dropped == 2100
    await_exporter_threads()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_hangs_costs_neither_requests_nor_the_shutdown(
    protocol: str, silent_port: int
) -> None:
    tracing = exporting_to(silent_port, protocol)
    assert (
        record_and_stop(tracing) < 2.5
    )  # 1 s, and room for a busy machine; the SDK takes 10 to 30
    assert tracing.counts.dropped == 2100


def test_spans_after_the_shutdown_are_counted_as_dropped(closed_port: int) -> None:
    tracing = exporting_to(closed_port, "http/protobuf")
    tracing.shutdown()
    Recorder(tracing, Metrics([]), CLOCK, CountingBytes()).record(REQUEST)
    assert (tracing.counts.recorded, tracing.counts.dropped) == (7, 7)


def test_a_second_shutdown_does_nothing(closed_port: int) -> None:
    tracing = exporting_to(closed_port, "http/protobuf")
    tracing.shutdown()
    tracing.shutdown()


def test_the_console_shows_spans(capsys: pytest.CaptureFixture[str]) -> None:
    tracing = Tracing.from_environment({"OTEL_TRACES_EXPORTER": "console"})
    Recorder(tracing, Metrics([]), CLOCK, CountingBytes()).record(REQUEST)
    tracing.shutdown()
    assert '"name": "chat kvorum-mini"' in capsys.readouterr().out
    assert tracing.counts.exported == 7


def test_what_is_not_understood_is_logged_and_does_not_stop_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracing = Tracing.from_environment({"OTEL_TRACES_EXPORTER": "zipkin"})
    assert not tracing.is_enabled
    assert caplog.messages == ["OTEL_TRACES_EXPORTER: 'zipkin' is not understood; left out"]


def test_a_process_ends_by_itself_while_the_collector_is_down(closed_port: int) -> None:
    code = f"""
from observability.metrics import Metrics
from observability.recorder import Recorder
from observability.tracing import Tracing
from tests.observability.records import CLOCK, REQUEST, CountingBytes

tracing = Tracing.from_environment(
    {{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{closed_port}",
      "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "7"}}
)
Recorder(tracing, Metrics([]), CLOCK, CountingBytes()).record(REQUEST)
tracing.shutdown(0.5)
"""
    begin = time.perf_counter()
    environ = {**os.environ, "PYTHONPATH": "."}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environ, check=True)
    assert time.perf_counter() - begin < 8
