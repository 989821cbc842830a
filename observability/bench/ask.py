"""Plain questions to a server beside the load: models, metrics, the length of a text.

The standard library's client, on HTTP/1.1 and blocking: from an event loop call it in a thread.
"""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urlsplit

from observability.bench.errors import CannotAsk

MAX_BODY_BYTES = 16 * 2**20


def ask(
    url: str,
    path: str,
    *,
    body: bytes | None = None,
    api_key: str | None = None,
    is_insecure: bool = False,
    timeout_s: float = 10.0,
) -> tuple[int, bytes]:
    """The status and the body of an answer: GET, or POST if there is a body of JSON.

    `url` is a server's, with or without `/v1` at its end; `path` begins with a slash. Raises
    `CannotAsk` if there is no answer.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    headers = {"accept": "*/*", "connection": "close"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    if body is not None:
        headers["content-type"] = "application/json"
    try:
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if is_insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=timeout_s
            )
        try:
            full_path = parts.path.rstrip("/").removesuffix("/v1") + path
            connection.request("GET" if body is None else "POST", full_path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_BODY_BYTES)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CannotAsk(f"{where} does not answer: {error}; is a server running there?") from None
