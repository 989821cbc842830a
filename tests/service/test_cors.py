"""CORS: which web pages may call the API, and that nothing of an answer is hidden from them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from service.middleware.cors import EXPOSED_HEADERS, OriginMiddleware
from service.origins import origins_of
from service.settings import SettingsError
from tests.service.running import CHAT, chat_body, error_of, routes_of, running, settings_of

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

KEY = "sk-canary-0123456789"
PAGE = "https://app.example.com"
LISTED = ("--enable-cors", "true", "--cors-origins", f"{PAGE},http://localhost:3000")
ANY = ("--enable-cors", "true")

# What OpenAI's SDK for JavaScript sends from a browser, and tracing beside it.
SENT = (
    "authorization,content-type,openai-organization,openai-project,traceparent,x-request-id,"
    "x-stainless-arch,x-stainless-helper-method,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout"
)
# What browsers show to every page (CORS-safelisted response headers), and CORS's own.
ALWAYS_SHOWN = {"cache-control", "content-length", "content-type", "vary"}


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


def preflight(origin: str = PAGE, method: str = "POST", sent: str = SENT) -> dict[str, str]:
    """What a browser asks beforehand."""
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": sent,
    }


async def test_without_the_setting_no_answer_speaks_of_cors() -> None:
    async with running() as run:
        assert (await run.client.options(CHAT, headers=preflight())).status_code == 405
        response = await run.client.get("/v1/models", headers={"origin": PAGE})
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origins", [LISTED, ANY])
async def test_a_browser_may_ask_beforehand_without_the_key(origins: tuple[str, ...]) -> None:
    async with running("--api-key", KEY, *origins) as run:
        for path, methods in routes_of(run):
            for method in methods:
                response = await run.client.options(path, headers=preflight(method=method))
                assert response.status_code == 200, path
                allowed = response.headers["access-control-allow-headers"]
                assert set(SENT.split(",")) <= set(allowed.split(","))
                assert method in response.headers["access-control-allow-methods"].split(", ")
                assert int(response.headers["access-control-max-age"]) >= 600
        assert run.engine.submits == []


async def test_origins_that_are_listed_are_answered_by_name_with_credentials() -> None:
    async with running(*LISTED) as run:
        for origin in (PAGE, "http://localhost:3000"):
            for response in (
                await run.client.options(CHAT, headers=preflight(origin)),
                await run.client.get("/v1/models", headers={"origin": origin}),
            ):
                assert response.headers["access-control-allow-origin"] == origin
                assert response.headers["access-control-allow-credentials"] == "true"
                assert "Origin" in response.headers["vary"]


async def test_where_all_may_call_nobody_may_with_credentials() -> None:
    async with running(*ANY) as run:
        for response in (
            await run.client.options(CHAT, headers=preflight()),
            await run.client.get("/v1/models", headers={"origin": PAGE, "cookie": "a=b"}),
        ):
            assert response.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example.com", f"{PAGE}.evil.example", "null"]
)
async def test_another_origin_is_refused_in_words_and_hears_nothing(
    origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kvorum.access")
    async with running(*LISTED) as run:
        response = await run.client.options(CHAT, headers=preflight(origin))
        assert response.status_code == 400
        assert error_of(response)["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in response.headers
        response = await run.client.get("/v1/models", headers={"origin": origin})
        assert "access-control-allow-origin" not in response.headers
    assert vars(caplog.records[0])["error_type"] == "origin_not_allowed"


async def test_errors_can_be_read_too() -> None:
    async with running("--api-key", KEY, *LISTED) as run:
        authorized = {"origin": PAGE, "authorization": f"Bearer {KEY}"}
        answers = [
            await run.client.post(CHAT, json=chat_body(), headers={"origin": PAGE}),
            await run.client.get("/nothing", headers=authorized),
            await run.client.delete(CHAT, headers=authorized),
            await run.client.post(CHAT, json={"tempo": 1}, headers=authorized),
            await run.client.post(CHAT, json=chat_body(model="gpt-9"), headers=authorized),
        ]
        run.lifecycle.begin_drain()
        answers.append(await run.client.post(CHAT, json=chat_body(), headers=authorized))
    assert [answer.status_code for answer in answers] == [401, 404, 405, 422, 404, 503]
    for answer in answers:
        assert error_of(answer)
        assert answer.headers["access-control-allow-origin"] == PAGE


async def test_every_header_of_ours_can_be_read() -> None:
    lenient = ("--input-validation", "lenient")
    async with running("--api-key", KEY, *LISTED, *lenient) as run:
        headers = {"origin": PAGE, "authorization": f"Bearer {KEY}"}
        answers = [
            await run.client.post(CHAT, json=chat_body(tempo=1), headers=headers),
            await run.client.get("/v1/models", headers={"origin": PAGE}),
            await run.client.get("/health", headers={"origin": PAGE}),
        ]
    assert "warning" in answers[0].headers
    for answer in answers:
        ours = {name for name in answer.headers if not name.startswith("access-control-")}
        assert ours - ALWAYS_SHOWN <= set(EXPOSED_HEADERS)
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert set(exposed) == set(EXPOSED_HEADERS)


async def test_pieces_of_a_stream_are_handed_on_as_they_come() -> None:
    pieces: list[Message] = [
        {"type": "http.response.body", "body": bytes([number]), "more_body": number < 3}
        for number in range(4)
    ]
    sent: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number, piece in enumerate(pieces):
            await send(piece)
            assert len(sent) == number + 2
            assert sent[-1] is piece

    async def receive() -> Message:
        raise AssertionError("nobody asks")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"origin", b"https://a")]}
    await OriginMiddleware(stream, ("*",))(scope, receive, send)
    assert len(sent) == 5


async def test_a_preflight_is_counted_as_a_request_that_no_route_took() -> None:
    async with running(*LISTED) as run:
        await run.client.options(CHAT, headers=preflight())
        text = (await run.client.get("/metrics")).text
    wanted = 'seconds_count{method="OPTIONS",route="unmatched",status="200"} 1.0'
    assert wanted in text


@pytest.mark.parametrize(
    ("listed", "origins"),
    [
        ("*", ("*",)),
        ("null", ("null",)),
        (
            " https://a.b , http://localhost:3000,https://a.b,",
            ("https://a.b", "http://localhost:3000"),
        ),
        (
            "app://obsidian.md,chrome-extension://abc",
            ("app://obsidian.md", "chrome-extension://abc"),
        ),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
    ],
)
def test_origins_are_listed_with_commas(listed: str, origins: tuple[str, ...]) -> None:
    assert origins_of(listed) == origins


@pytest.mark.parametrize(
    ("listed", "advice"),
    [
        ("example.com", "write https://example.com"),
        ("localhost:3000", "write http://localhost:3000"),
        ("https://example.com/", "write https://example.com"),
        ("https://example.com/app?x=1", "write https://example.com"),
        ("https://Example.com", "write https://example.com"),
        ("https://example.com:443", "write https://example.com"),
        ("http://example.com:80", "write http://example.com"),
        ("https://user:secret@example.com", "write https://example.com"),
        ("https://*.example.com", "list each of them"),
        ("*,https://example.com", "write it alone"),
        ("https://", "write scheme and host"),
        ("https://a b", "write scheme and host"),
        ("http://a:99999", "write scheme and host"),
        ("http://ü.de", "write scheme and host"),
        ("", "no origin is listed"),
        (" , ", "no origin is listed"),
    ],
)
def test_what_is_no_origin_is_a_settings_error_that_says_what_to_write(
    listed: str, advice: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of("--enable-cors", "true", "--cors-origins", listed)
    assert str(caught.value).startswith("--cors-origins: ")
    assert advice in str(caught.value)
