"""From the token ids of one answer to its deltas: decode, stop at a stop string, find tool calls.

Synchronous and pure; with the scheduler the only place with work for each token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.text.detokenizer import Detokenizer
from engine.text.stop_matcher import StopMatcher
from engine.text.tool_parsers.base import ContentDelta, ToolCallStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.text.tokenizer import Tokenizer
    from engine.text.tool_parsers.base import Delta, ToolParser


class AnswerText:
    """The text of one answer. However the ids are split into pushes, the deltas joined are the same.

    `num_tokens` counts the ids up to the one that completed a stop string; what is pushed after it
    is swallowed. `tool_parser` None leaves calls in the text. `new_call_id` makes the ids of calls.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: tuple[str, ...],
        tool_parser: ToolParser | None,
        new_call_id: Callable[[], str],
    ) -> None:
        self.num_tokens = 0
        self.is_stopped = False
        self.has_tool_calls = False
        self._detokenizer = Detokenizer(tokenizer)
        self._matcher = StopMatcher(stop) if stop else None
        self._tool_parser = tool_parser
        self._new_call_id = new_call_id

    def push(self, token_ids: Sequence[int]) -> list[Delta]:
        """Take the next ids; give what is certain."""
        if self._matcher is None:
            self.num_tokens += len(token_ids)
            return self._deltas_of(self._detokenizer.push(token_ids))
        return self._deltas_of("".join(self._texts_before_stop(self._matcher, token_ids)))

    def finish(self) -> list[Delta]:
        """The answer has ended: give what was held back."""
        text = ""
        if not self.is_stopped:
            text = self._detokenizer.finish()
            if self._matcher is not None:
                text, self.is_stopped = self._matcher.push(text)
                text += self._matcher.finish()
        deltas = self._deltas_of(text)
        if self._tool_parser is not None:
            deltas += self._with_ids(self._tool_parser.finish())
        return deltas

    def _texts_before_stop(self, matcher: StopMatcher, token_ids: Sequence[int]) -> Iterator[str]:
        """One id at a time: the usage counts them up to the match."""
        for token_id in token_ids:
            if self.is_stopped:
                return
            self.num_tokens += 1
            text, self.is_stopped = matcher.push(self._detokenizer.push((token_id,)))
            yield text

    def _deltas_of(self, text: str) -> list[Delta]:
        if not text:
            return []
        if self._tool_parser is None:
            return [ContentDelta(text)]
        return self._with_ids(self._tool_parser.push(text))

    def _with_ids(self, deltas: list[Delta]) -> list[Delta]:
        for place, delta in enumerate(deltas):
            if isinstance(delta, ToolCallStart):
                self.has_tool_calls = True
                if delta.id is None:
                    deltas[place] = msgspec.structs.replace(delta, id=self._new_call_id())
        return deltas
