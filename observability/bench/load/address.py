"""`Address`: where a server is, taken from its URL."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from observability.bench.errors import CannotMeasure


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix` is what stands before `/v1` in a path; `authority` is what a `host` header says."""

    host: str
    port: int
    is_tls: bool
    prefix: str
    authority: str

    @classmethod
    def of(cls, url: str) -> Address:
        """With or without `/v1` at its end. Raises `CannotMeasure` if it is no URL of a server."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
            raise CannotMeasure(f"{url!r} is no address; it looks like http://127.0.0.1:8000")
        is_tls = parts.scheme == "https"
        return cls(
            host=parts.hostname,
            port=port or (443 if is_tls else 80),
            is_tls=is_tls,
            prefix=parts.path.rstrip("/").removesuffix("/v1"),
            authority=parts.netloc.rpartition("@")[2],
        )
