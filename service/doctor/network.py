"""The address, who may use it, and the collector of traces."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from observability.export_settings import export_settings
from service.doctor.finding import Finding, note, of_error, ok, problem
from service.origins import ANY_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.settings import ServerSettings, Settings

_CONNECT_TIMEOUT_S = 1.0
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def port(server: ServerSettings) -> Finding:
    """Whether it can be listened on: bound for a moment, and given back."""
    from service.server import CannotBind, bind

    try:
        bind(server).close()
    except CannotBind as error:
        return of_error("port", error)
    if server.port == 0:
        return ok("port", f"a free one of {server.host} is taken at the start")
    return ok("port", f"{server.port} on {server.host} is free")


def access(settings: Settings) -> Iterator[Finding]:
    """Who may use the API."""
    server, has_key = settings.server, settings.auth.api_key is not None
    if has_key:
        yield ok("access", "an API key is needed")
    elif server.host in _LOOPBACK_HOSTS:
        yield ok("access", "this machine only, no API key")
    else:
        yield note(
            "access",
            f"no API key: open to whoever reaches {server.host}",
            "KVORUM_API_KEY=$(openssl rand -hex 16)",
        )
    if server.enable_cors and server.cors_origins == ANY_ORIGIN and not has_key:
        yield note(
            "cors",
            "any web page that somebody opens here may use the API",
            "--cors-origins with those that shall, or an API key",
        )
    elif server.enable_cors:
        yield ok("cors", f"web pages of {server.cors_origins} may call the API")
    elif server.cors_origins != ANY_ORIGIN:
        yield note("cors", "cors_origins is set, and off", "--enable-cors true")


def telemetry(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What the OTEL_* variables ask for, and whether the collector takes a connection."""
    settings = export_settings(environ)
    for warning in settings.warnings:
        yield note("telemetry", warning)
    if not settings.exporters:
        yield ok("telemetry", "no traces are exported: no OTEL_* variable asks for them")
    elif "otlp" in settings.exporters:
        yield collector(settings.endpoint, settings.protocol)
    else:
        yield ok("telemetry", "traces go to the console")


def collector(endpoint: str, protocol: str) -> Finding:
    """Whether somebody listens there; what they make of spans is not asked."""
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        default = 443 if protocol == "grpc" or parts.scheme == "https" else 80
        address = (parts.hostname or "", parts.port or default)
    except ValueError:
        address = ("", 0)
    if not address[0]:
        return problem(
            "telemetry",
            "the OTLP endpoint is no address",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317",
        )
    where = f"{address[0]}:{address[1]}"
    try:
        socket.create_connection(address, timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:  # the latter for a name that can be nobody's
        why = getattr(error, "strerror", None) or str(error)
        return problem(
            "telemetry",
            f"the collector at {where} cannot be reached ({why}): spans are lost",
            "start it, mend OTEL_EXPORTER_OTLP_ENDPOINT, or unset it",
        )
    return ok("telemetry", f"the collector at {where} takes connections ({protocol})")
