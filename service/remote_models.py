"""Asks a running server what it serves, as a client would: `GET /v1/models`.

The standard library's plain client, which follows no redirect: the key goes where it is sent to.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from service.models_table import aligned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from urllib.parse import SplitResult

_TIMEOUT_S = 10.0
_MAX_BODY_BYTES = 16 * 2**20


class CannotAsk(Exception):
    """The server does not tell; the text says why and what to do."""


class RemoteModel(msgspec.Struct, frozen=True, kw_only=True):
    """What OpenAI's API says of a model; the rest only Kvorum and vLLM say."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    kind: str | None = None
    state: str | None = None
    aliases: tuple[str, ...] = ()


class _ModelList(msgspec.Struct):
    data: list[msgspec.Raw]


def ask(url: str, api_key: str | None) -> list[msgspec.Raw]:
    """The JSON objects of the server's models. Raises `CannotAsk`."""
    parts = _split(url)
    status, body = _get(parts, _path_of(parts), api_key)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if status == 401:
        wrong = "refuses the key" if api_key else "wants a key"
        raise CannotAsk(f"{where} {wrong}; give the right one with --api-key or KVORUM_API_KEY")
    if status != 200:
        raise CannotAsk(
            f"{where}{_path_of(parts)} answers {status}; is that an OpenAI-compatible server?"
        )
    try:
        return msgspec.json.decode(body, type=_ModelList).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CannotAsk(
            f"{where}{_path_of(parts)} answers no list of models; is that an OpenAI-compatible "
            "server?"
        ) from None


def remote_table(models: Sequence[msgspec.Raw]) -> str:
    """Aligned columns under a line of titles; a model that is not understood is left out."""
    rows = [("NAME", "ALIASES", "KIND", "STATE", "CONTEXT", "OWNER")]
    for raw in models:
        try:
            model = msgspec.json.decode(raw, type=RemoteModel)
        except msgspec.DecodeError:
            continue
        context = "-" if model.max_model_len is None else f"{model.max_model_len:,}"
        aliases = ", ".join(model.aliases) or "-"
        kind, state, owner = (text or "-" for text in (model.kind, model.state, model.owned_by))
        rows.append((model.id, aliases, kind, state, context, owner))
    return aligned(rows)


def _split(url: str) -> SplitResult:
    """The URL of a server; "localhost:8000" is one too."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise CannotAsk(f"--url {url} is no address of a server; write http://127.0.0.1:8000")
    return parts


def _path_of(parts: SplitResult) -> str:
    """Clients are given the base with /v1, people write it without."""
    base = parts.path.rstrip("/")
    return f"{base}/models" if base.endswith("/v1") else f"{base}/v1/models"


def _get(parts: SplitResult, path: str, api_key: str | None) -> tuple[int, bytes]:
    headers = {"accept": "application/json"}
    if api_key is not None:
        headers["authorization"] = f"Bearer {api_key}"
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(str(parts.hostname), parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_MAX_BODY_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CannotAsk(_why(error, parts)) from None
    finally:
        connection.close()


def _why(error: Exception, parts: SplitResult) -> str:
    where = parts.netloc.rpartition("@")[2]
    match error:
        case ConnectionRefusedError():
            return f"nothing listens on {where}; start `kvorum serve` there, or mend --url"
        case http.client.InvalidURL():
            return f"--url {parts.geturl()} is no address of a server; write http://127.0.0.1:8000"
        case socket.gaierror() | UnicodeError():  # the latter for a name that can be nobody's
            return f"there is no host {parts.hostname}; mend --url"
        case TimeoutError():
            return f"{where} does not answer within {_TIMEOUT_S:.0f} s; is it the right address?"
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of {where} cannot be trusted ({error.verify_message}); name the "
                "one to trust in SSL_CERT_FILE"
            )
        case ssl.SSLError():
            return f"{where} does not speak TLS; try --url http://{where}"
        case ConnectionResetError() | http.client.HTTPException() if parts.scheme == "http":
            return f"{where} does not speak plain HTTP; try --url https://{where}"
        case _:
            return f"{where} cannot be asked: {error or type(error).__name__}"
