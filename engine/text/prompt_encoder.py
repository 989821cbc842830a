"""A chat to prompt ids: template and tokenizer together, with user text kept out of control.

Without control text in messages and tools the ids are those of transformers'
`apply_chat_template(..., tokenize=True)`. Where a message says `<|im_end|>`, the model gets the
characters `<|im_end|>` and not the token. See `control_tokens` for what counts as control text.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from engine.text.barrier_encoder import BarrierEncoder
from engine.text.control_tokens import ControlTokens
from engine.text.disguise import Disguise
from engine.text.errors import PromptTooLong
from engine.text.templates.chat_template import ChatTemplate
from engine.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    JsonObject = Mapping[str, object]

_NOTHING: frozenset[str] = frozenset()
_SPOKEN_FIELDS = frozenset({"content", "reasoning_content", "reasoning", "thinking"})


class PromptEncoder:
    """The prompts of one model. Immutable after construction, so threads may share it."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._control = ControlTokens(tokenizer)
        self._barrier_encoder = BarrierEncoder(tokenizer, self._control.ids)

    @classmethod
    def from_folder(cls, path: Path) -> PromptEncoder:
        """Raises TextError: TokenizerUnusable, TemplateMissing, TemplateFailed."""
        return cls(Tokenizer.from_folder(path), ChatTemplate.from_folder(path))

    def encode(
        self,
        messages: Sequence[JsonObject],
        tools: Sequence[JsonObject] | None = None,
        add_generation_prompt: bool = True,
        max_chars: int = sys.maxsize,
        continue_final_message: bool = False,
        **kwargs: object,
    ) -> list[int]:
        """The prompt ids of a chat; arguments as for `ChatTemplate.render`.

        A prompt of more than `max_chars` characters is refused before it is tokenized.

        Raises TemplateRejected, TemplateFailed, PromptTooLong, PromptUnencodable.
        """
        _check_spoken(messages, max_chars)
        inputs = [*messages, tools, kwargs]
        if not any(self._has_control(value) for value in inputs):
            rendered = self.template.render(
                messages, tools, add_generation_prompt, continue_final_message, **kwargs
            )
            _check_length(rendered, max_chars)
            return self.tokenizer.encode(rendered)
        disguise = Disguise([*_strings(inputs), *self.template.sources.values()])
        rendered = self.template.render(
            [_as_object(self._hide(message, disguise)) for message in messages],
            None if tools is None else [_as_object(self._hide(tool, disguise)) for tool in tools],
            add_generation_prompt,
            continue_final_message,
            **_as_object(self._hide(kwargs, disguise)),
        )
        _check_length(rendered, max_chars)
        return self._barrier_encoder.encode(rendered, disguise)

    def encode_user_text(self, text: str) -> list[int]:
        """The ids of a bare text with no control tokens in it, not even at its ends."""
        spans = self._control.spans(text)
        if not spans:
            return self.tokenizer.encode(text)
        disguise = Disguise([text])
        return self._barrier_encoder.encode(disguise.hide(text, spans), disguise)

    def _has_control(self, value: object, keep: frozenset[str] = _NOTHING) -> bool:
        if isinstance(value, str):
            return bool(self._control.spans(value, keep=keep))
        return any(self._has_control(child, kept) for child, kept in self._children(value))

    def _hide(self, value: object, disguise: Disguise, keep: frozenset[str] = _NOTHING) -> object:
        """A copy of JSON data in which control text is disguised, in keys as in values."""
        if isinstance(value, str):
            return disguise.hide(value, self._control.spans(value, keep=keep))
        children = [self._hide(child, disguise, kept) for child, kept in self._children(value)]
        if isinstance(value, dict):
            return dict(zip(children[::2], children[1::2], strict=True))
        return children if isinstance(value, list | tuple) else value

    def _children(self, value: object) -> Iterator[tuple[object, frozenset[str]]]:
        """The parts of JSON data (key, value, key, value, ...), each with what it may say."""
        if isinstance(value, list | tuple):
            yield from ((child, _NOTHING) for child in value)
        elif isinstance(value, dict):
            is_spoken = value.get("role") == "assistant"
            for key, child in value.items():
                yield key, _NOTHING
                may_say = is_spoken and key in _SPOKEN_FIELDS
                yield child, self._control.optional if may_say else _NOTHING


def _check_spoken(messages: Sequence[JsonObject], max_chars: int) -> None:
    """Raises PromptTooLong for messages that no template can make fit: looking for control text in
    them costs far more than reading them. An assistant's are not counted: templates drop some."""
    num_chars = sum(
        len(content)
        for message in messages
        if message.get("role") != "assistant" and isinstance(content := message.get("content"), str)
    )
    if num_chars > max_chars:
        raise PromptTooLong(num_chars)


def _check_length(rendered: str, max_chars: int) -> None:
    if len(rendered) > max_chars:
        raise PromptTooLong(len(rendered))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _strings(child)
    elif isinstance(value, dict):
        yield from _strings(list(value.keys()))
        yield from _strings(list(value.values()))


def _as_object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value
