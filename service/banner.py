"""What a person sees when the server is ready. Pure: facts in, text out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.protocol import Ready

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def banner(
    *, model: str, ready: Ready, urls: Sequence[str], needs_key: bool, host: str, version: str
) -> str:
    """At most 15 lines, aligned; the last ones can be pasted into a shell."""
    url = urls[0]
    num_tokens = ready.num_blocks * ready.block_size
    rows = [
        ("model", f"{model}  ({_count(ready.num_parameters)} parameters, {ready.dtype})"),
        ("device", f"{ready.device}  (weights {_bytes(ready.weight_bytes)})"),
        (
            "KV cache",
            f"{ready.num_blocks:,} blocks x {ready.block_size} = {num_tokens:,} tokens"
            f"  ({_bytes(ready.kv_cache_bytes)})",
        ),
        ("context", f"{ready.max_model_len:,} tokens"),
        ("API", "  ".join(f"{url}/v1" for url in urls)),
        ("metrics", f"{url}/metrics"),
        ("access", _access(needs_key, host)),
    ]
    lines = [f"  Kvorum {version} is ready", ""]
    lines += [f"  {name:<9} {value}" for name, value in rows]
    lines += ["", *_curl(model, url, needs_key)]
    return "\n" + "\n".join(lines) + "\n\n"


def url_of(host: str, port: int, *, is_tls: bool) -> str:
    """The URL of a bound address that a browser on this machine can open."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    if ":" in reachable and not reachable.startswith("["):
        reachable = f"[{reachable}]"
    return f"{'https' if is_tls else 'http'}://{reachable}:{port}"


def _access(needs_key: bool, host: str) -> str:
    if needs_key:
        return "API key needed (Authorization: Bearer …)"
    if host in _LOOPBACK_HOSTS:
        return "this machine only, no API key"
    return "OPEN to whoever reaches this address: set KVORUM_API_KEY"


def _curl(model: str, url: str, needs_key: bool) -> list[str]:
    message = {"role": "user", "content": "What is 17 + 25?"}
    body = json.dumps({"model": model, "temperature": 0, "messages": [message]}, ensure_ascii=False)
    body = body.replace("'", r"\u0027")  # inside single quotes in the shell, and still JSON
    key = '    -H "Authorization: Bearer $KVORUM_API_KEY" \\' if needs_key else None
    # A certificate made for a test is signed by nobody curl knows.
    insecure = " -k" if url.startswith("https") else ""
    lines = [
        f"  curl{insecure} {url}/v1/chat/completions \\",
        key,
        "    -H 'Content-Type: application/json' \\",
        f"    -d '{body}'",
    ]
    return [line for line in lines if line is not None]


def _count(number: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def _bytes(number: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 2**10:.1f} KiB"
