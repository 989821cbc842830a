from __future__ import annotations

from typing import Any

import msgspec
import pytest

from observability.bench.errors import CannotMeasure
from observability.bench.load.address import Address
from observability.bench.load.endpoint import Earlier, Piece, Usage, endpoint_of
from observability.bench.plan import Target
from observability.bench.turn import Turn

TARGET = Target(url="http://x", model="m", body={"temperature": 0, "ignore_eos": True})
CHAT, COMPLETIONS = endpoint_of("chat"), endpoint_of("completions")


def body(endpoint: Any, turn: Turn, *history: Earlier) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(endpoint.body(turn, list(history), TARGET))
    return decoded


def test_a_request_streams_with_usage_and_the_targets_fields_lie_over_it() -> None:
    asked = body(CHAT, Turn(text="hi", num_output_tokens=7))
    assert asked == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "ignore_eos": True,
    }


def test_a_chat_goes_on_after_its_answers() -> None:
    first = Earlier(Turn(text="one", system="be kind"), "eins")
    assert body(CHAT, Turn(text="two"), first)["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "eins"},
        {"role": "user", "content": "two"},
    ]


def test_messages_are_sent_as_they_are() -> None:
    messages: list[dict[str, object]] = [{"role": "user", "content": "mine"}]
    first = Earlier(Turn(text="one"), "eins")
    assert body(CHAT, Turn(messages=messages), first)["messages"] == messages
    assert messages == [{"role": "user", "content": "mine"}]


def test_a_completion_continues_its_text() -> None:
    first = Earlier(Turn(text="one ", system="S "), "eins ")
    assert body(COMPLETIONS, Turn(text="two"), first)["prompt"] == "S one eins two"
    assert body(COMPLETIONS, Turn(token_ids=[1, 2]))["prompt"] == [1, 2]


def test_what_a_route_cannot_ask_is_said() -> None:
    with pytest.raises(CannotMeasure, match="--endpoint completions"):
        body(CHAT, Turn(token_ids=[1]))
    with pytest.raises(CannotMeasure, match="--endpoint chat"):
        body(COMPLETIONS, Turn(messages=[]))


@pytest.mark.parametrize(
    ("event", "piece"),
    [
        ('{"choices":[{"delta":{"content":"a"}}]}', Piece("a")),
        ('{"choices":[{"index":0,"text":"a","finish_reason":null}]}', Piece("a")),
        ('{"choices":[{"delta":{"role":"assistant","content":""}}]}', Piece()),
        ('{"choices":[{"delta":{"role":"assistant","content":null}}],"usage":null}', Piece()),
        ('{"choices":[{"delta":{"reasoning_content":"r","reasoning":"r"}}]}', Piece("", "r")),
        ('{"choices":[{"delta":{"reasoning":"r"}}]}', Piece("", "r")),
        (
            '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}',
            Piece("", "", "{"),
        ),
        (
            '{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":null}}]}}]}',
            Piece(),
        ),
        (
            '{"choices":[{"delta":{"content":"z"},"finish_reason":"stop"}]}',
            Piece("z", finish_reason="stop"),
        ),
        ('{"choices":[{"delta":null,"finish_reason":"stop"}]}', Piece(finish_reason="stop")),
        (
            '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}',
            Piece(usage=Usage(3, 2, None)),
        ),
        (
            '{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,'
            '"prompt_tokens_details":{"cached_tokens":1}}}',
            Piece("a", usage=Usage(3, None, 1)),
        ),
        ('{"error":{"message":"no room","code":500}}', Piece(error="no room")),
        ('{"error":"no room"}', Piece(error="no room")),
        ('{"object":"error","message":"no room"}', Piece(error="no room")),
        ('{"error":{"code":5}}', Piece(error='{"code":5}')),
        ('{"choices":[{"message":{"content":"all"},"finish_reason":"stop"}]}',
         Piece("all", finish_reason="stop")),
        ("{}", Piece()),
    ],
)  # fmt: skip
def test_what_servers_send_is_read(event: str, piece: Piece) -> None:
    assert CHAT.read(event.encode()) == piece
    assert COMPLETIONS.read(event.encode()) == piece


@pytest.mark.parametrize("event", ["{", "[1]", '{"choices":3}', '{"choices":[{"text":7}]}'])
def test_what_is_none_of_this_api_is_refused(event: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        CHAT.read(event.encode())


def test_an_address_is_taken_from_a_url() -> None:
    assert Address.of("https://me:x@host/api/v1/") == Address(
        host="host", port=443, is_tls=True, prefix="/api", authority="host"
    )
    assert Address.of("http://[::1]:80").host == "::1"
    assert Address.of("localhost:8000").port == 8000


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", ""])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(CannotMeasure, match="is no address"):
        Address.of(url)
