"""From the token ids of one choice to its deltas: decode, stop at a stop string, set reasoning
apart, find tool calls, and hand out log-probabilities with the text they belong to.

Synchronous and pure; with the scheduler the only place with work for each token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.text.detokenizer import Detokenizer
from engine.text.stop_matcher import StopMatcher
from engine.text.tool_parsers.base import ContentDelta, ToolCallArguments, ToolCallStart
from engine.text.tool_parsers.json_scanner import JsonScanner
from service.deltas import ChoiceDelta, ReasoningDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.protocol import TokenLogprobs
    from engine.text.reasoning_parsers.base import ReasoningParser
    from engine.text.tokenizer import Tokenizer
    from engine.text.tool_parsers.base import ToolParser
    from service.deltas import Delta
    from service.held_scores import HeldScores

_NUM_TAIL_TOKENS = 16


class ChoiceText:
    """The text of one choice. However the ids are split into pushes, the deltas joined are the same.

    `num_tokens` counts the ids up to the one that completed a stop string; what is pushed after it
    is swallowed. Without a parser reasoning and calls stay in the text, without `scores` nobody
    asked for log-probabilities. `new_call_id` makes the ids of calls. With `is_one_call` a second
    call ends the choice as a stop string would; with `is_calls_only` nothing but calls is told, as
    where one is cut off before its name. The text goes on after `prompt_ids`, if there are
    any. One of `stop_token_ids` has a score, but no text; mostly the engine keeps them to itself.
    """

    def __init__(
        self,
        index: int,
        tokenizer: Tokenizer,
        new_call_id: Callable[[], str],
        *,
        stop: tuple[str, ...] = (),
        skip_special_tokens: bool = True,
        reasoning_parser: ReasoningParser | None = None,
        tool_parser: ToolParser | None = None,
        is_one_call: bool = False,
        is_calls_only: bool = False,
        scores: HeldScores | None = None,
        prompt_ids: Sequence[int] = (),
        stop_token_ids: frozenset[int] = frozenset(),
    ) -> None:
        self.num_tokens = 0
        self.num_reasoning_tokens = 0
        self.is_stopped = False
        self.has_stop_token = False
        self._index = index
        self._new_call_id = new_call_id
        self._detokenizer = _detokenizer_after(prompt_ids, tokenizer, skip_special_tokens)
        self._stop_token_ids = stop_token_ids
        self._matcher = StopMatcher(stop) if stop else None
        self._reasoning_parser = reasoning_parser
        self._tool_parser = tool_parser
        self._is_one_call = is_one_call
        self._is_calls_only = is_calls_only
        self._arguments = JsonScanner()  # of the last call
        self._has_all_calls = False
        self._scores = scores
        self._counts_each = (
            bool(stop) or is_one_call or scores is not None or reasoning_parser is not None
        )

    @property
    def has_tool_calls(self) -> bool:
        """Whether it has calls, and the arguments of the last one are whole."""
        return self._arguments.is_done

    def push(
        self, token_ids: Sequence[int], logprobs: Sequence[TokenLogprobs] = ()
    ) -> list[ChoiceDelta]:
        """Take the next ids, with a log-probability each if they were asked for; give what is
        certain."""
        if not self._counts_each:
            self.num_tokens += len(token_ids)
            return self._of_choice(self._deltas_of(self._detokenizer.push(token_ids)))
        deltas: list[Delta] = []
        for place, token_id in enumerate(token_ids):
            if self.is_stopped:
                break
            if self._scores is not None and logprobs:
                self._scores.hold(logprobs[place])
            if token_id in self._stop_token_ids:
                self.num_tokens += 1
                self.has_stop_token = True
            else:
                deltas += self._push_one(token_id)
        return self._of_choice(_merged(deltas))

    def finish(self) -> list[ChoiceDelta]:
        """The choice has ended: give what was held back."""
        text = ""
        if not self.is_stopped:
            text = self._until_stop(self._detokenizer.finish())
            if self._matcher is not None:
                text += self._release(self._matcher.finish())
        deltas = self._deltas_of(text)
        if self._reasoning_parser is not None:
            for delta in self._reasoning_parser.finish():
                deltas += self._calls_in(delta)
        if self._tool_parser is not None:
            deltas += self._with_ids(self._tool_parser.finish())
        if self._scores is not None and not self.is_stopped:
            self._scores.release_all()
        return self._of_choice(_merged(deltas))

    def _push_one(self, token_id: int) -> list[Delta]:
        """One id at a time: usage counts them up to a stop string, and those of the reasoning."""
        self.num_tokens += 1
        parser = self._reasoning_parser
        is_thought = parser is not None and parser.is_reasoning
        deltas = self._deltas_of(self._until_stop(self._detokenizer.push((token_id,))))
        if is_thought or (parser is not None and parser.is_reasoning):
            self.num_reasoning_tokens += 1
        return deltas

    def _until_stop(self, text: str) -> str:
        if self._scores is not None:
            self._scores.decoded(text)
        if self._matcher is not None:
            text, is_matched = self._matcher.push(text)
            self.is_stopped |= is_matched
        return self._release(text)

    def _release(self, text: str) -> str:
        """It is certain that this text is part of the answer, and so are the tokens behind it."""
        if self._scores is not None:
            self._scores.release(len(text))
        return text

    def _deltas_of(self, text: str) -> list[Delta]:
        if not text:
            return []
        if self._reasoning_parser is None:
            return self._calls_in(ContentDelta(text))
        return [d for delta in self._reasoning_parser.push(text) for d in self._calls_in(delta)]

    def _calls_in(self, delta: ContentDelta | ReasoningDelta) -> list[Delta]:
        if self._has_all_calls:
            return []
        if isinstance(delta, ReasoningDelta) or self._tool_parser is None:
            return [delta]
        return self._with_ids(self._tool_parser.push(delta.text))

    def _with_ids(
        self, deltas: Sequence[ContentDelta | ToolCallStart | ToolCallArguments]
    ) -> list[Delta]:
        named: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, ToolCallStart):
                if self._is_one_call and delta.index:
                    self.is_stopped = self._has_all_calls = True
                    self._tool_parser = None  # it has nothing more to say
                    break
                self._arguments = JsonScanner()
                if delta.id is None:
                    delta = msgspec.structs.replace(delta, id=self._new_call_id())
            elif isinstance(delta, ToolCallArguments):
                self._arguments.scan(delta.text)
            elif self._is_calls_only:
                continue
            named.append(delta)
        return named

    def _of_choice(self, deltas: list[Delta]) -> list[ChoiceDelta]:
        if self._scores is None or not (scores := self._scores.take()):
            return [ChoiceDelta(self._index, delta) for delta in deltas]
        first, *rest = deltas or [ContentDelta("")]
        return [
            ChoiceDelta(self._index, first, scores),
            *(ChoiceDelta(self._index, delta) for delta in rest),
        ]


def _detokenizer_after(
    prompt_ids: Sequence[int], tokenizer: Tokenizer, skip_special_tokens: bool
) -> Detokenizer:
    """One that goes on after the prompt: some decoders drop a blank where a text begins."""
    for token_id in reversed(prompt_ids[-_NUM_TAIL_TOKENS:]):
        detokenizer, trial = (Detokenizer(tokenizer, skip_special_tokens) for _ in range(2))
        if trial.push((token_id,)) and not trial.finish():  # a token that nothing hangs on
            detokenizer.push((token_id,))
            return detokenizer
    return Detokenizer(tokenizer, skip_special_tokens)


def _merged(deltas: list[Delta]) -> list[Delta]:
    """Neighbours of the same kind as one: each delta is an event on the wire."""
    merged: list[Delta] = []
    for delta in deltas:
        last = merged[-1] if merged else None
        match last, delta:
            case ContentDelta(before), ContentDelta(text):
                merged[-1] = ContentDelta(before + text)
            case ReasoningDelta(before), ReasoningDelta(text):
                merged[-1] = ReasoningDelta(before + text)
            case _:
                merged.append(delta)
    return merged
