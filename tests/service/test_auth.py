"""The API key: what is open, what is closed, and what no header or path can open."""

from __future__ import annotations

import hmac
import json

import pytest

from tests.requirements import requirement
from tests.service.running import CHAT, call, routes_of, running

KEY = "sk-canary-0123456789"
OPEN = ("/health", "/health/live", "/health/ready", "/openapi.json", "/docs")


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


@requirement("headers.authorization")
async def test_with_the_key_everything_and_without_it_only_what_is_open_is_answered() -> None:
    async with running("--api-key", KEY) as run:
        for path, methods in routes_of(run):
            if "GET" not in methods:
                continue
            open_to_all = (await run.client.get(path)).status_code
            assert open_to_all == (200 if path in OPEN else 401), path
            authorized = await run.client.get(path, headers={"authorization": f"Bearer {KEY}"})
            assert authorized.status_code == 200
        assert (await run.client.get("/nothing")).status_code == 401


@requirement("errors.401")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        f"Bearer {KEY}, Bearer {KEY}",
        "Bearer \xff",
    ],
)
async def test_anything_but_the_key_as_bearer_is_401(value: str) -> None:
    async with running("--api-key", KEY) as run:
        status, headers, body = await call(run.app, "GET", "/v1/models", [("authorization", value)])
        assert status == 401
        assert dict(headers)[b"www-authenticate"] == b"Bearer"
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
        assert b"canary" not in body


async def test_two_authorization_headers_are_401_even_if_one_is_right() -> None:
    async with running("--api-key", KEY) as run:
        right = ("authorization", f"Bearer {KEY}")
        status, _, _ = await call(run.app, "GET", "/v1/models", [right, right])
        assert status == 401


async def test_the_scheme_is_case_insensitive() -> None:
    async with running("--api-key", KEY) as run:
        for scheme in ("bearer", "BEARER"):
            headers = {"authorization": f"{scheme} {KEY}"}
            assert (await run.client.get("/v1/models", headers=headers)).status_code == 200


async def test_keys_are_compared_in_constant_time_over_digests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    original = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return original(left, right)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    async with running("--api-key", KEY) as run:
        for value in ("", "Bearer x", f"Basic {KEY}", f"Bearer {KEY}"):
            await call(run.app, "GET", "/v1/models", [("authorization", value)])
    assert len(compared) == 4
    assert all(len(left) == len(right) == 32 for left, right in compared)


@pytest.mark.parametrize("host", ["x/health?", "x/health", "x/health#", "health", "a@b/health?"])
async def test_no_host_header_opens_a_closed_path(host: str) -> None:
    async with running("--api-key", KEY) as run:
        status, _, _ = await call(run.app, "GET", "/v1/models", [("host", host)])
        assert status == 401


@pytest.mark.parametrize(
    "path", ["/health/../v1/models", "//v1/models", "/health/live/x", "/Health", "/v1/models\x00"]
)
async def test_no_path_near_an_open_one_is_open(path: str) -> None:
    async with running("--api-key", KEY) as run:
        status, _, _ = await call(run.app, "GET", path)
        assert status == 401


async def test_options_needs_no_key_and_reaches_nothing() -> None:
    async with running("--api-key", KEY) as run:
        response = await run.client.options(CHAT)
        assert response.status_code == 405


async def test_a_websocket_without_the_key_is_closed() -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    async with running("--api-key", KEY) as run:
        scope = {"type": "websocket", "path": "/health", "headers": [], "state": {}}
        await run.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]
