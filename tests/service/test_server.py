"""A real Hypercorn on a real port, in a process of its own: protocols, signals, exit codes."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import IO, TYPE_CHECKING

import anyio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.http.limits import HttpLimits
from service.hypercorn_config import hypercorn_config
from service.server import CannotBind, bind, serve
from service.settings import ServerSettings, SettingsError
from tests.service.running import CHAT, chat_body, embedded_card, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk-canary-0123456789"


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


class Server:
    """A running server process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> tuple[int, str]:
        """Exit code and what is left on stderr."""
        _, error = self.process.communicate(timeout=20)
        return self.process.returncode, error

    def read_until(self, text: str) -> str:
        """stderr up to a line with `text`."""
        return _read_until(self.process.stderr, text)


def _read_until(stream: IO[str] | None, text: str) -> str:
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was never said:\n{seen}")


@contextmanager
def serving(*flags: str) -> Iterator[Server]:
    """A server on a free port, ready unless told never to be."""
    command = [sys.executable, "-W", "error", "-m", "tests.service.fake_server", *flags]
    process = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = ""
        if not {"--fake-never-ready", "--fake-stuck"} & set(flags):
            banner = _read_until(process.stderr, "  API ")
            found = re.search(r"API +(\S+)/v1", banner)
            assert found is not None
            url = found[1]
        yield Server(process, url)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """One server for the tests that leave it as it was."""
    with serving("--api-key", KEY) as server:
        yield server


def authorized(**options: object) -> httpx.AsyncClient:
    """A client with the key."""
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.AsyncClient(headers=headers, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("http1", "http2", "version"), [(True, False, "HTTP/1.1"), (False, True, "HTTP/2")]
)
async def test_one_port_speaks_http_1_and_http_2_in_clear_text(
    shared: Server, http1: bool, http2: bool, version: str
) -> None:
    async with authorized(http1=http1, http2=http2) as client:
        whole = await client.post(shared.url + CHAT, json=chat_body())
        assert whole.status_code == 200
        assert whole.http_version == version
        assert whole.headers["x-trace-id"]
        assert "server" not in whole.headers
        streamed = await client.post(shared.url + CHAT, json=chat_body(stream=True))
        assert streamed.text.endswith("data: [DONE]\n\n")
        metrics = await client.get(shared.url + "/metrics")
        assert metrics.status_code == 200


async def test_a_refused_upload_leaves_its_http_2_neighbours_alone(shared: Server) -> None:
    """As shipped, data for an answered stream ends the connection with all others on it."""
    upload = b"x" * 300_000
    statuses: list[int] = []
    async with httpx.AsyncClient(http1=False, http2=True) as client:

        async def refused(path: str) -> None:
            response = await client.post(shared.url + path, content=upload)
            statuses.append(response.status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(refused, CHAT)
                tasks.start_soon(refused, "/health")
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await client.post(shared.url + CHAT, json=chat_body(), headers=headers)
        assert answer.status_code == 200
    assert sorted(statuses) == [401] * 4 + [405] * 4


async def test_a_header_block_beyond_16_kib_is_refused(shared: Server) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{shared.url}/health", headers={"x-big": "x" * 100_000})
        assert response.status_code in (400, 431)
        assert (await client.get(f"{shared.url}/health")).status_code == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kvorum test")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


async def test_over_tls_alpn_chooses_http_2_or_http_1(certificate: tuple[Path, Path]) -> None:
    cert_file, key_file = certificate
    trusting = ssl.create_default_context(cafile=str(cert_file))
    with serving("--ssl-certfile", str(cert_file), "--ssl-keyfile", str(key_file)) as server:
        assert server.url.startswith("https://")
        for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
            async with httpx.AsyncClient(http2=http2, verify=trusting) as client:
                response = await client.post(server.url + CHAT, json=chat_body())
                assert response.status_code == 200
                assert response.http_version == version
        host, port = server.url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")  # no handshake: no matter
            assert plain.recv(1) in (b"", b"\x15")
        async with httpx.AsyncClient(verify=trusting) as client:
            assert (await client.get(f"{server.url}/health")).status_code == 200
        server.signal(signal.SIGTERM)
        code, error = server.wait()
    assert code == 0
    assert "Traceback" not in error


async def test_sigterm_lets_running_requests_finish_refuses_new_ones_and_exits_0() -> None:
    with serving("--fake-hold-after", "2") as server:
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("POST", server.url + CHAT, json=chat_body(stream=True)) as running,
        ):
            lines = running.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            server.signal(signal.SIGTERM)
            server.read_until("shutting down, 1 requests running")
            refused = await client.post(server.url + CHAT, json=chat_body())
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
            assert refused.headers["retry-after"]
            assert (await client.get(f"{server.url}/health/ready")).status_code == 503
            assert (await client.get(f"{server.url}/health/live")).status_code == 200

            server.signal(signal.SIGUSR1)
            rest = [line async for line in lines]
            assert "data: [DONE]" in rest
        code, error = server.wait()
    assert code == 0
    assert "Traceback" not in error


async def test_at_the_drains_deadline_a_stream_ends_with_an_error_event_and_the_exit_is_0() -> None:
    with serving("--fake-hold-after", "2", "--drain-timeout-s", "0.2") as server:
        async with (
            httpx.AsyncClient(timeout=20, http1=False, http2=True) as client,
            client.stream("POST", server.url + CHAT, json=chat_body(stream=True)) as running,
        ):
            lines = running.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            server.signal(signal.SIGTERM)
            rest = [line async for line in lines]
            assert any('"error"' in line for line in rest)
            assert "data: [DONE]" not in rest
        code, error = server.wait()
    assert code == 0
    assert "Traceback" not in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_later_signal_stops_at_once_but_one_keystroke_that_comes_twice_does_not(
    number: signal.Signals,
) -> None:
    with serving("--fake-hold-after", "2") as server:
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("POST", server.url + CHAT, json=chat_body(stream=True)) as running,
        ):
            lines = running.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            server.signal(number)
            server.signal(number)
            server.read_until("shutting down")
            assert (await client.get(f"{server.url}/health/live")).status_code == 200
            await anyio.sleep(0.6)  # what is tested is a time: later than one keystroke
            server.signal(number)
            code, error = server.wait()
    assert code == 128 + number
    assert "stopped at once" in error


def test_a_supervisor_that_keeps_sending_sigterm_still_gets_exit_code_0() -> None:
    with serving() as server:
        while server.process.poll() is None:
            server.signal(signal.SIGTERM)
            time.sleep(0.02)  # a supervisor's rhythm, not a wait
        code, _ = server.wait()
    assert code == 0


def test_an_idle_server_stops_at_ctrl_c_without_a_word_too_many() -> None:
    with serving() as server:
        server.signal(signal.SIGINT)
        code, error = server.wait()
    assert code == 0
    assert error.splitlines()[-1].startswith("kvorum: shutting down, 0 requests")


async def test_when_the_engine_dies_streams_end_and_the_exit_is_1() -> None:
    with serving("--fake-hold-after", "2") as server:
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("POST", server.url + CHAT, json=chat_body(stream=True)) as running,
        ):
            lines = running.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            server.signal(signal.SIGUSR2)
            assert any('"error"' in line for line in [line async for line in lines])
        code, error = server.wait()
    assert code == 1
    assert "kvorum: The fake engine was killed." in error
    assert "Traceback" not in error


def test_an_engine_that_dies_before_it_was_ready_is_5() -> None:
    with serving("--fake-never-ready") as server:
        server.read_until("the fake engine is open")
        server.signal(signal.SIGUSR2)
        code, error = server.wait()
    assert code == 5
    assert "kvorum: The fake engine was killed." in error


def test_loading_that_cannot_be_interrupted_does_not_hold_up_a_stop() -> None:
    with serving("--fake-stuck") as server:
        server.read_until("the fake engine is open")
        server.signal(signal.SIGTERM)
        code, error = server.wait()
    assert code == 0
    assert "Traceback" not in error


# Sockets and settings


def test_a_taken_port_is_known_before_anything_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotBind, match=f"port {port} on 127.0.0.1 is taken"):
            bind(ServerSettings(port=port))


def test_two_servers_that_start_together_do_not_share_a_port() -> None:
    with bind(ServerSettings(port=0)) as first:
        port = first.getsockname()[1]
        with bind(ServerSettings(port=port)) as second:
            first.listen()
            with pytest.raises(CannotBind, match="is taken"):
                serve(settings_of("--port", str(port)), embedded_card(), second)


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("192.0.2.1", "is no address of this machine"),
        ("no.such.invalid", "no such address"),
        ("a..b", "no such address"),
    ],
)
def test_an_address_that_is_not_ours_is_told(host: str, reason: str) -> None:
    with pytest.raises(CannotBind, match=reason):
        bind(ServerSettings(host=host, port=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::"])
def test_every_usual_host_can_be_bound_and_reached(host: str) -> None:
    with bind(ServerSettings(host=host, port=0)) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_key_that_does_not_fit_the_certificate_is_a_setting_that_is_wrong(
    certificate: tuple[Path, Path],
) -> None:
    cert_file, _ = certificate
    flags = ["--ssl-certfile", str(cert_file), "--ssl-keyfile", str(cert_file), "--port", "0"]
    settings = settings_of(*flags)
    with (
        bind(settings.server) as listener,
        pytest.raises(SettingsError, match="cannot be used together"),
    ):
        serve(settings, embedded_card(), listener)


def test_limits_are_the_ones_that_the_threats_ask_for() -> None:
    config = hypercorn_config(ServerSettings())
    limits = HttpLimits()
    assert limits.max_streams >= 1024
    assert limits.max_header_bytes == config.h11_max_incomplete_size == 16 * 1024
    assert limits.max_unsent_bytes == 2**20
    assert limits.max_stall_s == 30
    assert limits.idle_s == 5
    assert config.alpn_protocols == ["h2", "http/1.1"]
    assert not config.include_server_header
    assert config.accesslog is None
