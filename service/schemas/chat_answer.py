"""What `POST /v1/chat/completions` answers: the whole object, and the chunks of a stream.

Chunks are put together from bytes: what is the same in all of a request's chunks is encoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.deltas import ContentDelta, Delta, End, Started, ToolCallArguments, ToolCallStart
from service.errors import envelope
from service.schemas.usage import Usage
from service.sse import DONE, event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.errors import ApiError


class AnswerHead(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer and all chunks of a stream begin with; the model is the one that was asked."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    service_tier: str = "default"


class Function(msgspec.Struct):
    """A call's function; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct):
    """A call the model wants to be made."""

    id: str
    function: Function
    type: Literal["function"] = "function"


class AnswerMessage(msgspec.Struct, kw_only=True):
    """The answer itself; `content` is null if it consists of calls only."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: tuple[()] = ()
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Choice(msgspec.Struct, kw_only=True):
    """One of the answers that were asked for."""

    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: str


class ChatCompletion(msgspec.Struct, kw_only=True):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: str
    system_fingerprint: str


def completion(head: AnswerHead, deltas: Sequence[Delta]) -> ChatCompletion:
    """The whole answer from all its deltas, of which the last is the `End`."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    arguments: list[list[str]] = []
    for delta in deltas:
        match delta:
            case ContentDelta(text):
                texts.append(text)
            case ToolCallStart():
                calls.append(ToolCall(delta.id or "", Function(delta.name)))
                arguments.append([])
            case ToolCallArguments(index, text):
                arguments[index].append(text)
    for call, pieces in zip(calls, arguments, strict=True):
        call.function.arguments = "".join(pieces)
    end = deltas[-1]
    assert isinstance(end, End)
    message = AnswerMessage(
        content=None if calls and not texts else "".join(texts), tool_calls=calls or UNSET
    )
    return ChatCompletion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[Choice(message=message, finish_reason=end.finish_reason)],
        usage=_usage(end),
        service_tier=head.service_tier,
        system_fingerprint=head.system_fingerprint,
    )


class ChatChunks:
    """The events of one streamed answer: an `EventEncoder`.

    The role comes once, in the first chunk. With `include_usage` every chunk has `usage: null`
    and one more without choices tells the usage. A fault ends the stream without [DONE].
    """

    def __init__(self, head: AnswerHead, include_usage: bool) -> None:
        common = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "service_tier": head.service_tier,
            "system_fingerprint": head.system_fingerprint,
        }
        self._head = msgspec.json.encode(common)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._include_usage = include_usage
        self._to_json = msgspec.json.Encoder().encode

    def encode(self, deltas: Sequence[Delta]) -> bytes:
        return b"".join([self._events(delta) for delta in deltas])

    def fault(self, error: ApiError) -> bytes:
        return event(envelope(error))

    def _events(self, delta: Delta) -> bytes:
        match delta:
            case ContentDelta(text):
                return self._chunk(b'{"content":' + self._to_json(text) + b"}")
            case ToolCallArguments(index, text):
                return self._call({"index": index, "function": {"arguments": text}})
            case ToolCallStart(index, name, call_id):
                function = {"name": name, "arguments": ""}
                return self._call(
                    {"index": index, "id": call_id, "type": "function", "function": function}
                )
            case Started():
                return self._chunk(b'{"role":"assistant","content":"","refusal":null}')
            case End():
                return self._closing(delta)

    def _call(self, call: dict[str, object]) -> bytes:
        return self._chunk(self._to_json({"tool_calls": [call]}))

    def _closing(self, end: End) -> bytes:
        last = self._chunk(b"{}", self._to_json(end.finish_reason))
        if self._include_usage:
            usage = self._to_json(_usage(end))
            last += event(self._head + b'],"usage":' + usage + b"}")
        return last + DONE

    def _chunk(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        return event(
            b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}%b'
            % (self._head, delta, finish_reason, self._tail)
        )


def _usage(end: End) -> Usage:
    return Usage.of(end.num_prompt_tokens, end.num_output_tokens, end.num_cached_tokens)
