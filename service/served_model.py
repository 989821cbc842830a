"""A model as the service sees it: its card and all that turns chats into ids and ids into text.

Loaded without torch, before the weights are: rendering and tokenizing happen on this side.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.structured.vocabulary import vocabulary_of
from engine.text.errors import TemplateFailed
from engine.text.prompt_encoder import PromptEncoder
from engine.text.reasoning_parsers.select import reasoning_parser_for, reasoning_parser_named
from engine.text.tool_parsers.select import tool_parser_for, tool_parser_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.models.card import ModelCard
    from engine.structured.vocabulary import Vocabulary
    from engine.text.tokenizer import Tokenizer

Format = TypeVar("Format")


class ServedModel:
    """Immutable, shared by all requests for it."""

    def __init__(
        self,
        card: ModelCard,
        encoder: PromptEncoder,
        *,
        tool_call_parser: str = "auto",
        reasoning_parser: str = "auto",
    ) -> None:
        """The parsers' names are the operator's; "auto" goes by the template, "none" is no parser.
        Raises ValueError for a name that no parser has."""
        source = encoder.template.source
        self.card = card
        self.name = card.name
        self.encoder = encoder
        self.tool_format = _chosen(tool_call_parser, source, tool_parser_for, tool_parser_named)
        """None if the model's form of calls is unknown: then calls stay in the text."""
        self.reasoning = _chosen(
            reasoning_parser, source, reasoning_parser_for, reasoning_parser_named
        )
        """None if the model's template knows no reasoning: then all of an answer is content."""
        facts = "\n".join([card.name, tool_call_parser, reasoning_parser, source])
        digest = hashlib.sha256(facts.encode()).hexdigest()
        self.fingerprint = f"fp_{digest[:10]}"
        """OpenAI's `system_fingerprint`: changes with what could change answers on this side."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens, for grammars."""
        return vocabulary_of(self.card, self.card.vocab_size)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.encoder.tokenizer


def _chosen(
    name: str,
    source: str,
    by_template: Callable[[str], Format | None],
    by_name: Callable[[str], Format],
) -> Format | None:
    if name == "auto":
        return by_template(source)
    return None if name == "none" else by_name(name)


def load_text(
    card: ModelCard, *, tool_call_parser: str = "auto", reasoning_parser: str = "auto"
) -> ServedModel:
    """The model of a card, with the parsers that `ServedModel` knows by these names.

    Raises:
        TextError: with a reason for the operator, also for a template that cannot even render a
            greeting, before anybody sends one.
        ValueError: no parser has the name.
    """
    encoder = PromptEncoder.from_folder(Path(card.path))
    if not encoder.encode([{"role": "user", "content": "Hello"}]):
        raise TemplateFailed("the chat template renders a greeting as nothing")
    return ServedModel(
        card, encoder, tool_call_parser=tool_call_parser, reasoning_parser=reasoning_parser
    )
