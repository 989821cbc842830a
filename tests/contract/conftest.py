"""A real server: `kvorum serve` in a process of its own, on a free port, with the embedded model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@contextmanager
def running_server(*arguments: str, **environment: str) -> Iterator[str]:
    """Start a server, wait for its banner, give its URL; SIGTERM must end it with exit code 0."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        seen = []
        for line in server.stderr:
            seen.append(line)
            if found := re.search(r"https?://[\w.\[\]:]+:\d+", line):
                break
        else:
            raise AssertionError("the server did not start:\n" + "".join(seen))
        try:
            yield found[0]
        finally:
            server.send_signal(signal.SIGTERM)
            _, rest = server.communicate(timeout=30)
        assert server.returncode == 0, "".join(seen) + rest


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with running_server("--log-level", "error") as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client over HTTP/1.1."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai_client:
        yield openai_client


@pytest.fixture
def h2_client(url: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client over HTTP/2 without TLS, by prior knowledge."""
    with (
        httpx.Client(http1=False, http2=True) as http,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=http) as c,
    ):
        yield c


@pytest.fixture(params=["h1", "h2"])
def sdk(request: pytest.FixtureRequest) -> openai.OpenAI:
    """OpenAI's own client, over either."""
    client: openai.OpenAI = request.getfixturevalue(
        "client" if request.param == "h1" else "h2_client"
    )
    return client


@pytest.fixture
def anyio_backend() -> str:
    """What a user of the SDK has."""
    return "asyncio"


def metric(url: str, name: str) -> float:
    """The sum over all labels of a metric."""
    text = httpx.get(f"{url}/metrics").text
    values = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    assert values, f"{name} is not in /metrics"
    return sum(map(float, values))
