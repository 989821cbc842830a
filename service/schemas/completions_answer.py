"""What `POST /v1/completions` answers whole. `completions_chunks` has the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from service.deltas import ChoiceDelta, ChoiceEnd, ContentDelta, End
from service.schemas.completions_logprobs import CompletionLogprobs, completion_logprobs
from service.schemas.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.deltas import AnswerEvent, TokenScore
    from service.schemas.chat_answer import AnswerHead


class CompletionChoice(msgspec.Struct, kw_only=True):
    """One of the texts that were asked for."""

    text: str
    index: int
    """Choices of the first prompt come first."""
    logprobs: CompletionLogprobs | None = None
    finish_reason: str
    """`length` at `max_tokens` or the end of the context."""


class Completion(msgspec.Struct, kw_only=True):
    """The whole answer."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    """Unix seconds."""
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    """Over all prompts."""
    system_fingerprint: str


class CompletionBuilder:
    """Puts the whole answer together from all its events, of which the last is the `End`."""

    def __init__(self, num_choices: int, *, has_logprobs: bool) -> None:
        self.num_scores = 0
        self._has_logprobs = has_logprobs
        self._texts: list[list[str]] = [[] for _ in range(num_choices)]
        self._scores: list[list[TokenScore]] = [[] for _ in range(num_choices)]
        self._finish_reasons = [""] * num_choices
        self._end: End | None = None

    def add(self, events: Sequence[AnswerEvent]) -> None:
        """Take the next events."""
        for event in events:
            match event:
                case ChoiceDelta(choice, ContentDelta(text), scores):
                    self._texts[choice].append(text)
                    self._scores[choice] += scores
                    self.num_scores += len(scores)
                case ChoiceEnd(choice, finish_reason):
                    self._finish_reasons[choice] = finish_reason
                case End():
                    self._end = event
                case _:  # there are neither calls nor reasoning
                    pass

    def build(self, head: AnswerHead) -> Completion:
        """The answer, after its `End`. Slow for many scores."""
        assert self._end is not None
        return Completion(
            id=head.id,
            created=head.created,
            model=head.model,
            choices=[
                CompletionChoice(
                    text="".join(texts),
                    index=index,
                    logprobs=completion_logprobs(scores) if self._has_logprobs else None,
                    finish_reason=finish_reason,
                )
                for index, (texts, scores, finish_reason) in enumerate(
                    zip(self._texts, self._scores, self._finish_reasons, strict=True)
                )
            ],
            usage=Usage.of(self._end),
            system_fingerprint=head.system_fingerprint,
        )
