"""What `POST /v1/chat/completions` answers whole. `chat_chunks` has the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET, UnsetType

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
from service.schemas.logprobs import ChatLogprobs, chat_logprobs
from service.schemas.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.deltas import AnswerEvent, Delta, TokenScore


class AnswerHead(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer and all chunks of a stream begin with; the model is the one that was asked."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    service_tier: str = "default"


class AnswerFunction(msgspec.Struct):
    """A call's function."""

    name: str
    arguments: str = ""
    """JSON text, as the model wrote it."""


class AnswerCall(msgspec.Struct):
    """A call the model wants to be made."""

    id: str
    function: AnswerFunction
    type: Literal["function"] = "function"


class AnswerMessage(msgspec.Struct, kw_only=True):
    """The answer itself."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    """Null if the answer consists of calls only."""
    refusal: None = None
    annotations: tuple[()] = ()
    reasoning_content: str | UnsetType = UNSET
    """OpenAI has no field for it. Of the two names in use clients read one."""
    reasoning: str | UnsetType = UNSET
    tool_calls: list[AnswerCall] | UnsetType = UNSET


class Choice(msgspec.Struct, kw_only=True):
    """One of the answers that were asked for."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: str
    """`length` at `max_completion_tokens` or the end of the context."""


class ChatCompletion(msgspec.Struct, kw_only=True):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    """Unix seconds."""
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: str
    system_fingerprint: str
    metadata: dict[str, str] | UnsetType = UNSET
    """The request's own."""


class ChatCompletionBuilder:
    """Puts the whole answer together from all its events, of which the last is the `End`."""

    def __init__(self, num_choices: int, *, has_logprobs: bool) -> None:
        self._choices = [_ChoiceBuilder() for _ in range(num_choices)]
        self._has_logprobs = has_logprobs
        self._end: End | None = None

    def add(self, events: Sequence[AnswerEvent]) -> None:
        """Take the next events."""
        for event in events:
            match event:
                case ChoiceDelta(choice, delta, scores):
                    self._choices[choice].add(delta, scores)
                case ChoiceEnd(choice, finish_reason):
                    self._choices[choice].finish_reason = finish_reason
                case End():
                    self._end = event
                case Started():
                    pass

    def build(self, head: AnswerHead, metadata: dict[str, str] | None) -> ChatCompletion:
        """The answer, after its `End`; `metadata` is the client's own and goes back to it."""
        assert self._end is not None
        return ChatCompletion(
            id=head.id,
            created=head.created,
            model=head.model,
            choices=[
                choice.build(index, has_logprobs=self._has_logprobs)
                for index, choice in enumerate(self._choices)
            ],
            usage=Usage.of(self._end),
            service_tier=head.service_tier,
            system_fingerprint=head.system_fingerprint,
            metadata=UNSET if metadata is None else metadata,
        )


class _ChoiceBuilder:
    def __init__(self) -> None:
        self.finish_reason = ""
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[AnswerCall] = []
        self._arguments: list[list[str]] = []
        self._scores: list[TokenScore] = []

    def add(self, delta: Delta, scores: Sequence[TokenScore]) -> None:
        self._scores += scores
        match delta:
            case ContentDelta(text):
                self._texts.append(text)
            case ReasoningDelta(text):
                self._thoughts.append(text)
            case ToolCallStart():
                self._calls.append(AnswerCall(delta.id or "", AnswerFunction(delta.name)))
                self._arguments.append([])
            case ToolCallArguments(index, text):
                self._arguments[index].append(text)

    def build(self, index: int, *, has_logprobs: bool) -> Choice:
        for call, pieces in zip(self._calls, self._arguments, strict=True):
            call.function.arguments = "".join(pieces)
        content = "".join(self._texts)
        reasoning = "".join(self._thoughts) or UNSET
        return Choice(
            index=index,
            message=AnswerMessage(
                content=None if self._calls and not content else content,
                reasoning_content=reasoning,
                reasoning=reasoning,
                tool_calls=self._calls or UNSET,
            ),
            logprobs=chat_logprobs(self._scores) if has_logprobs else None,
            finish_reason=self.finish_reason,
        )
