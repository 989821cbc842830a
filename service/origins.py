"""The origins whose web pages may read answers: how they are written, and what is no origin.

An origin is what a browser sends in `Origin`: scheme, host and a port that is not the scheme's
own, in small letters and without a path. One that is written otherwise would match nothing.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

ANY_ORIGIN = "*"
NO_ORIGIN = "null"
"""What pages send that come from a file, and those of anybody in a sandbox."""

_OWN_PORTS = {"http": 80, "https": 443}


def origins_of(listed: str) -> tuple[str, ...]:
    """The origins of a list with commas. Raises ValueError, with what to write instead."""
    origins = tuple(dict.fromkeys(part.strip() for part in listed.split(",") if part.strip()))
    if not origins:
        raise ValueError(f"no origin is listed; write https://example.com, or {ANY_ORIGIN} for all")
    if ANY_ORIGIN in origins and len(origins) > 1:
        raise ValueError(f"{ANY_ORIGIN} is every origin: write it alone, or leave it out")
    for origin in origins:
        if origin not in (ANY_ORIGIN, NO_ORIGIN):
            _check(origin)
    return origins


def _check(origin: str) -> None:
    try:
        right = _written(
            urlsplit(origin if "://" in origin else f"{_likely_scheme(origin)}://{origin}")
        )
    except ValueError:
        right = ""
    if not right:
        raise ValueError(f"{origin} is no origin; write scheme and host, as https://example.com")
    if "*" in right:
        raise ValueError(f"{origin}: a part of an origin cannot be {ANY_ORIGIN}; list each of them")
    if origin != right:
        raise ValueError(f"{origin} is not how browsers send an origin; write {right}")


def _likely_scheme(host: str) -> str:
    return "http" if host.startswith(("localhost", "127.", "[::1]")) else "https"


def _written(parts: SplitResult) -> str:
    """As a browser sends it; empty if there is no host."""
    host = parts.hostname or ""
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        return ""
    host = f"[{host}]" if ":" in host else host
    is_own_port = parts.port is None or parts.port == _OWN_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if is_own_port else f":{parts.port}")
