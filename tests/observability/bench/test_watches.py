"""What is seen beside a load: a server's metrics over HTTP, GPUs, and the log of both."""

from __future__ import annotations

import math
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from observability.bench.watch.gpu_watch import GpuWatch, Nvml, values_of
from observability.bench.watch.metrics_text import MAX_SERIES, series_of
from observability.bench.watch.metrics_watch import MetricsWatch
from observability.bench.watch.watch_log import WatchLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class MetricsServer(ThreadingHTTPServer):
    """Answers each question with the next of `answers`, the last one for ever."""

    daemon_threads = True

    def __init__(self, answers: Sequence[tuple[int, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = cast("MetricsServer", self.server)
        status, body = server.answers[min(len(server.asked), len(server.answers) - 1)]
        server.asked.append((self.path, self.headers["authorization"]))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., MetricsServer]]:
    servers: list[tuple[MetricsServer, threading.Thread]] = []

    def begin(*answers: tuple[int, bytes]) -> MetricsServer:
        server = MetricsServer(answers)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def metrics(running: float = 3) -> bytes:
    """As a server of vLLM's kind tells them."""
    registry = CollectorRegistry()
    labels = {"labelnames": ["model_name"], "registry": registry}
    gauge = Gauge("vllm:num_requests_running", "With a \\ and a \n in it", **labels)
    gauge.labels('a "model"\\n').set(running)
    Counter("vllm:prompt_tokens", "", **labels).labels("m").inc(7)
    Histogram("vllm:e2e_request_latency_seconds", "", **labels).labels("m").observe(0.5)
    Gauge("vllm:cache_config_info", "", ["block_size"], registry=registry).labels("16").set(1)
    Gauge("python_gc_collections", "", registry=registry).set(4)
    Gauge("process_resident_memory_bytes", "", registry=registry).set(1e9)
    return generate_latest(registry)


async def seen(log: WatchLog, name: str, num: int) -> list[float]:
    """The values of a series, once there are as many."""
    with anyio.fail_after(20):
        while True:
            values = [one.value for one in log.samples(0) if one.name == name]
            if len(values) >= num:
                return values
            await anyio.sleep(0.01)


def test_gauges_counters_sums_and_counts_of_known_servers_are_kept() -> None:
    assert series_of(metrics().decode()) == {
        'vllm:num_requests_running{model_name="a \\"model\\"\\\\n"}': 3,
        'vllm:prompt_tokens_total{model_name="m"}': 7,
        'vllm:e2e_request_latency_seconds_sum{model_name="m"}': 0.5,
        'vllm:e2e_request_latency_seconds_count{model_name="m"}': 1,
        "process_resident_memory_bytes": 1e9,
    }


@pytest.mark.parametrize(
    "text",
    [
        "kvorum_a",
        "kvorum_a{",
        'kvorum_a{b="c} 1',
        "kvorum_a x",
        'kvorum_a{b=c} "',
        "# TYPE kvorum_a nonsense\nkvorum_a 1",
    ],
)
def test_text_that_is_no_metrics_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no text of Prometheus"):
        series_of(text)


@given(st.text(st.sampled_from('kvorum_:{}="\\, 1.eNa+-#\nTYPE\r\t'), max_size=60))
def test_any_text_is_read_or_is_a_value_error(text: str) -> None:
    for whole in (text, f"kvorum_{text}", f"# TYPE kvorum_{text}"):
        try:
            series_of(whole)
        except ValueError:
            continue


def test_a_server_cannot_tell_more_than_is_wanted() -> None:
    lines = [f'kvorum_a{{b="{number}"}} 1' for number in range(MAX_SERIES * 2)]
    assert len(series_of("\n".join(lines))) == MAX_SERIES
    assert series_of(f'kvorum_a{{b="{"x" * 1000}"}} 1') == {}


@pytest.mark.anyio
async def test_metrics_are_read_at_once_and_then_each_period(
    serve: Callable[..., MetricsServer],
) -> None:
    server = serve(*((200, metrics(number)) for number in range(3)))
    log = WatchLog()
    watch = MetricsWatch(server.url, log, api_key="a-key", period_s=0.02)
    before_ns = time.monotonic_ns()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.watch)
        name = 'vllm:num_requests_running{model_name="a \\"model\\"\\\\n"}'
        assert (await seen(log, name, 3))[:3] == [0, 1, 2]
        tasks.cancel_scope.cancel()
    assert set(server.asked) == {("/metrics", "Bearer a-key")}
    after_s = (time.monotonic_ns() - before_ns) / 1e9
    assert all(0 < one.at_s < after_s for one in log.samples(before_ns))
    assert watch.trouble == ""


@pytest.mark.anyio
@pytest.mark.parametrize("status", [404, 401])
async def test_a_server_without_metrics_is_asked_once_and_told(
    serve: Callable[..., MetricsServer], status: int
) -> None:
    server, log = serve((status, b"nothing")), WatchLog()
    watch = MetricsWatch(server.url, log, period_s=0.0)
    with anyio.fail_after(20):
        await watch.watch()
        await watch.read()
    assert watch.trouble == f"/metrics answers with status {status}"
    assert len(server.asked) == 1
    assert log.samples(0) == []


@pytest.mark.anyio
async def test_a_server_that_stumbles_is_asked_again(serve: Callable[..., MetricsServer]) -> None:
    answers = [(503, b""), (200, b"kvorum_a{"), (200, b"<html>"), (200, b"kvorum_a 1")]
    server, log = serve(*answers, (500, b""), (404, b""), (200, b"kvorum_a 2")), WatchLog()
    watch = MetricsWatch(server.url, log, period_s=0.0)
    with anyio.fail_after(20):
        for trouble in ("status 503", "is no text", "no series", "", "", "", ""):
            await watch.read()
            assert (trouble in watch.trouble) if trouble else not watch.trouble
    assert [one.value for one in log.samples(0)] == [1, 2]


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_told() -> None:
    watch = MetricsWatch("http://127.0.0.1:9", WatchLog())
    with anyio.fail_after(20):
        await watch.read()
    assert "http://127.0.0.1:9 does not answer" in watch.trouble


def test_a_line_of_nvidia_smi_is_read_and_what_is_not_known_left_out() -> None:
    assert values_of("1, 55, 1024, 250.5") == {
        "gpu1.utilization": 0.55,
        "gpu1.memory_bytes": 2.0**30,
        "gpu1.power_w": 250.5,
    }
    assert values_of("0, [N/A], 10, nan") == {"gpu0.memory_bytes": 10 * 2.0**20}
    for other in ("", "No devices were found", "x, 1, 2, 3", "0, 1"):
        assert values_of(other) == {}


@pytest.mark.anyio
async def test_gpus_are_watched_by_a_child_process_that_does_not_outlive_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("observability.bench.watch.gpu_watch.open_nvml", lambda: None)
    code = (
        "import itertools, time\n"
        "for number in itertools.count():\n"
        "    print(f'0, {number}, 10, [N/A]', flush=True); time.sleep(0.02)"
    )
    log = WatchLog()
    watch = GpuWatch(log, smi_command=[sys.executable, "-u", "-c", code])
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.watch)
            assert (await seen(log, "gpu0.utilization", 3))[:3] == [0.0, 0.01, 0.02]
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("command", [["no-such-program-anywhere"], [sys.executable, "-c", ""]])
async def test_without_gpus_the_watch_just_ends(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("observability.bench.watch.gpu_watch.open_nvml", lambda: None)
    log = WatchLog()
    with anyio.fail_after(20):
        await GpuWatch(log, smi_command=command).watch()
    assert log.samples(0) == []


class NoNvml(Exception):
    """As `pynvml.NVMLError`."""


def no_power(_: object) -> int:
    raise NoNvml


def two_gpus() -> Any:
    """The few functions of `pynvml` that are used: no driver is here to ask."""
    return SimpleNamespace(
        NVMLError=NoNvml,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=50 * gpu),
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=gpu + 5),
        nvmlDeviceGetPowerUsage=no_power,
    )


@pytest.mark.anyio
async def test_gpus_are_watched_by_nvml_and_what_they_do_not_tell_is_left_out() -> None:
    log = WatchLog()
    watch = GpuWatch(log, period_s=0.01, nvml=Nvml(two_gpus()))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.watch)
            assert (await seen(log, "gpu1.utilization", 2))[0] == 0.5
            tasks.cancel_scope.cancel()
    assert {one.name for one in log.samples(0)} == {
        *("gpu0.utilization", "gpu1.utilization", "gpu0.memory_bytes", "gpu1.memory_bytes")
    }


def at(points: list[tuple[int, float]], time_ns: int) -> float:
    """Of the line through the points."""
    for (left_ns, left), (right_ns, right) in pairwise(points):
        if left_ns <= time_ns <= right_ns:
            return left + (right - left) * (time_ns - left_ns) / (right_ns - left_ns)
    return points[0][1]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=30))
def test_the_line_through_a_log_goes_through_all_that_was_seen(values: list[float]) -> None:
    log = WatchLog()
    for index, value in enumerate(values):
        log.add({"a": value}, index * 10**9)
    kept = [(round(one.at_s * 1e9), one.value) for one in log.samples(0)]
    assert [at(kept, index * 10**9) for index in range(len(values))] == values
    assert kept[-1] == ((len(values) - 1) * 10**9, values[-1])
    repeats = zip(kept, kept[1:], kept[2:], strict=False)
    assert not any(one[1] == two[1] == three[1] for one, two, three in repeats)


def test_samples_count_from_the_begin_and_come_in_order_without_what_is_no_number() -> None:
    log = WatchLog()
    log.add({"a": 1, "b": math.nan}, 1_000_000_000)
    log.add({"c": math.inf, "d": -1}, 3_500_000_000)
    log.add({"a": 2}, 2_000_000_000)
    found = [(one.at_s, one.name, one.value) for one in log.samples(3_000_000_000)]
    assert found == [(-2, "a", 1), (-1, "a", 2), (0.5, "d", -1)]
