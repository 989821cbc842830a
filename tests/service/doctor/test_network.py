"""The address, who may use it, certificates, and the collector of traces."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.doctor.certificate import certificate
from service.doctor.network import access, collector, port, telemetry
from service.settings import ServerSettings
from tests.service.running import settings_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_free_port_is_well_and_is_given_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    settings = ServerSettings(port=number)
    assert port(settings).state == "ok"
    assert port(settings).state == "ok"
    assert "a free one" in port(ServerSettings(port=0)).text


def test_a_taken_port_is_told_as_serve_tells_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = port(ServerSettings(port=server.getsockname()[1]))
    assert found.state == "problem"
    assert "is taken by another program" in found.text
    assert "--port" in found.remedy


def test_an_address_of_another_machine_is_a_problem() -> None:
    found = port(ServerSettings(host="192.0.2.1", port=0))
    assert "is no address of this machine" in found.text


@pytest.mark.parametrize(
    ("argv", "states"),
    [
        ([], {"access": "ok"}),
        (["--host", "0.0.0.0"], {"access": "note"}),
        (["--host", "0.0.0.0", "--api-key", "sk-1"], {"access": "ok"}),
        (["--enable-cors", "true"], {"access": "ok", "cors": "note"}),
        (["--enable-cors", "true", "--api-key", "sk-1"], {"access": "ok", "cors": "ok"}),
        (
            ["--enable-cors", "true", "--cors-origins", "https://a.b"],
            {"access": "ok", "cors": "ok"},
        ),
        (["--cors-origins", "https://a.b"], {"access": "ok", "cors": "note"}),
    ],
)
def test_who_may_use_the_server_is_told(argv: list[str], states: dict[str, str]) -> None:
    assert {each.subject: each.state for each in access(settings_of(*argv))} == states


def test_without_otel_variables_nothing_is_asked_for() -> None:
    [found] = telemetry({})
    assert found.state == "ok"


def test_a_collector_that_takes_connections_is_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        [found] = telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert found.state == "ok"


def test_a_collector_that_is_not_there_is_a_problem_and_no_secret_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    found = collector(f"http://user:canary@127.0.0.1:{number}/v1/traces", "http/protobuf")
    assert found.state == "problem"
    assert f"127.0.0.1:{number}" in found.text
    assert "canary" not in str(found)
    assert collector("http://", "grpc").state == "problem"
    assert collector("http://h:99999", "grpc").state == "problem"


def test_variables_that_are_not_understood_are_notes() -> None:
    first, second = telemetry({"OTEL_TRACES_EXPORTER": "zipkin,console"})
    assert (first.state, second.state) == ("note", "ok")
    assert "zipkin" in first.text


def make_certificate(folder: Path, days: float, password: bytes | None = None) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that ends in `days`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kvorum test")])
    now = datetime.now(UTC)
    addresses = [x509.DNSName("kvorum.test"), x509.IPAddress(ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        lock = serialization.BestAvailableEncryption(password)
    (folder / "cert.pem").write_bytes(signed.public_bytes(encoding))
    plain = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, lock)
    (folder / "key.pem").write_bytes(plain)
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_tls_that_is_off_is_well() -> None:
    assert certificate(None, None, 0).text == "off"


@pytest.mark.parametrize(("days", "state"), [(60, "ok"), (3, "note"), (-1, "problem")])
def test_a_certificate_is_told_with_its_names_and_its_end(
    tmp_path: Path, days: float, state: str
) -> None:
    found = certificate(*make_certificate(tmp_path, days), time.time())
    assert found.state == state
    assert ("expired" if days < 0 else "for kvorum.test, 127.0.0.1, until ") in found.text


def test_a_key_that_is_anothers_encrypted_or_no_key_is_a_problem(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    cert, _ = make_certificate(tmp_path / "a", 60)
    _, other = make_certificate(tmp_path / "b", 60)
    assert "cannot be used together" in certificate(cert, other, 0).text
    found = certificate(*make_certificate(tmp_path / "c", 60, b"secret"), 0)
    assert "is encrypted" in found.text
    (tmp_path / "key.pem").write_text("no key")
    assert certificate(cert, str(tmp_path / "key.pem"), 0).state == "problem"
    assert certificate(cert, str(tmp_path / "absent.pem"), 0).state == "problem"


def test_findings_can_be_written_as_json_whatever_a_name_holds() -> None:
    found = collector("http://a\udcff:1", "grpc")
    assert msgspec.json.encode(found)
