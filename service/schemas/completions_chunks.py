"""What `POST /v1/completions` streams: chunks, put together from bytes.

What is the same in all chunks of a request is encoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service.deltas import ChoiceDelta, ChoiceEnd, ContentDelta, End
from service.errors import envelope
from service.schemas.completions_logprobs import completion_logprobs
from service.schemas.usage import Usage
from service.sse import DONE, event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.deltas import AnswerEvent
    from service.errors import ApiError
    from service.schemas.chat_answer import AnswerHead


class CompletionChunks:
    """The events of one streamed answer: an `EventEncoder`.

    With `include_usage` every chunk has `usage: null` and one more without choices tells the usage.
    A fault ends the stream without [DONE].
    """

    def __init__(self, head: AnswerHead, *, include_usage: bool) -> None:
        common = {
            "id": head.id,
            "object": "text_completion",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.system_fingerprint,
        }
        self._head = msgspec.json.encode(common)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._include_usage = include_usage
        self._to_json = msgspec.json.Encoder().encode

    def encode(self, events: Sequence[AnswerEvent]) -> bytes:
        return b"".join([self._encoded(event) for event in events])

    def fault(self, error: ApiError) -> bytes:
        return event(envelope(error))

    def _encoded(self, happening: AnswerEvent) -> bytes:
        match happening:
            case ChoiceDelta(choice, ContentDelta(text), scores):
                logprobs = self._to_json(completion_logprobs(scores)) if scores else b"null"
                return self._chunk(choice, self._to_json(text), logprobs, b"null")
            case ChoiceEnd(choice, finish_reason):
                return self._chunk(choice, b'""', b"null", self._to_json(finish_reason))
            case End():
                return self._closing(happening)
            case _:  # there are neither calls nor reasoning
                return b""

    def _closing(self, end: End) -> bytes:
        if not self._include_usage:
            return DONE
        usage = self._to_json(Usage.of(end))
        return event(b'%b],"usage":%b}' % (self._head, usage)) + DONE

    def _chunk(self, choice: int, text: bytes, logprobs: bytes, finish_reason: bytes) -> bytes:
        return event(
            b'%b{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b}%b'
            % (self._head, choice, text, logprobs, finish_reason, self._tail)
        )
