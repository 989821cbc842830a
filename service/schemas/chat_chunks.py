"""What `POST /v1/chat/completions` streams: chunks, put together from bytes.

What is the same in all chunks of a request is encoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service.deltas import (
    ChoiceDelta,
    ChoiceEnd,
    ContentDelta,
    End,
    ReasoningDelta,
    Started,
    ToolCallArguments,
    ToolCallStart,
)
from service.errors import envelope
from service.schemas.logprobs import chat_logprobs
from service.schemas.usage import Usage
from service.sse import DONE, event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.deltas import AnswerEvent, Delta
    from service.errors import ApiError
    from service.schemas.chat_answer import AnswerHead

_ROLE = b'{"role":"assistant","content":"","refusal":null}'


class ChatChunks:
    """The events of one streamed answer: an `EventEncoder`.

    Roles come first, once for each choice and in their order: the SDK's stream helper fails on any
    other. With `include_usage` every chunk has `usage: null` and one more without choices tells the
    usage. A fault ends the stream without [DONE].
    """

    def __init__(self, head: AnswerHead, *, num_choices: int, include_usage: bool) -> None:
        common = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "service_tier": head.service_tier,
            "system_fingerprint": head.system_fingerprint,
        }
        self._head = msgspec.json.encode(common)[:-1] + b',"choices":['
        self._openings = [b'%b{"index":%d,"delta":' % (self._head, n) for n in range(num_choices)]
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._plain_tail = b',"logprobs":null,"finish_reason":null}' + self._tail
        self._include_usage = include_usage
        self._to_json = msgspec.json.Encoder().encode

    def encode(self, events: Sequence[AnswerEvent]) -> bytes:
        return b"".join([self._encoded(event) for event in events])

    def fault(self, error: ApiError) -> bytes:
        return event(envelope(error))

    def _encoded(self, happening: AnswerEvent) -> bytes:
        match happening:
            case ChoiceDelta(choice, delta, scores):
                if not scores:
                    return event(self._openings[choice] + self._delta(delta) + self._plain_tail)
                return self._chunk(choice, self._delta(delta), self._to_json(chat_logprobs(scores)))
            case Started():
                return b"".join(
                    [event(opening + _ROLE + self._plain_tail) for opening in self._openings]
                )
            case ChoiceEnd(choice, finish_reason):
                return self._chunk(choice, b"{}", b"null", self._to_json(finish_reason))
            case End():
                return self._closing(happening)

    def _delta(self, delta: Delta) -> bytes:
        match delta:
            case ContentDelta(text):
                return b'{"content":' + self._to_json(text) + b"}"
            case ReasoningDelta(text):
                thought = self._to_json(text)
                return b'{"reasoning_content":%b,"reasoning":%b}' % (thought, thought)
            case ToolCallArguments(index, text):
                return self._call({"index": index, "function": {"arguments": text}})
            case ToolCallStart(index, name, call_id):
                function = {"name": name, "arguments": ""}
                return self._call(
                    {"index": index, "id": call_id, "type": "function", "function": function}
                )

    def _call(self, call: dict[str, object]) -> bytes:
        return self._to_json({"tool_calls": [call]})

    def _closing(self, end: End) -> bytes:
        if not self._include_usage:
            return DONE
        usage = self._to_json(Usage.of(end))
        return event(b'%b],"usage":%b}' % (self._head, usage)) + DONE

    def _chunk(
        self, choice: int, delta: bytes, logprobs: bytes, finish_reason: bytes = b"null"
    ) -> bytes:
        return event(
            b'%b%b,"logprobs":%b,"finish_reason":%b}%b'
            % (self._openings[choice], delta, logprobs, finish_reason, self._tail)
        )
