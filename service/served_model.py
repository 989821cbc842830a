"""A model as the service sees it: its card and all that turns chats into ids and ids into text.

Loaded without torch, before the weights are: rendering and tokenizing happen on this side.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from engine.structured.vocabulary import vocabulary_of
from engine.text.errors import TemplateFailed
from engine.text.prompt_encoder import PromptEncoder
from engine.text.reasoning_parsers.select import reasoning_parser_for
from engine.text.tool_parsers.select import tool_parser_for
from service.errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.models.card import ModelCard
    from engine.structured.vocabulary import Vocabulary
    from engine.text.tokenizer import Tokenizer


class ServedModel:
    """Immutable, shared by all requests for it."""

    def __init__(self, card: ModelCard, encoder: PromptEncoder) -> None:
        self.card = card
        self.name = card.name
        self.encoder = encoder
        self.tool_format = tool_parser_for(encoder.template.source)
        """None if the model's form of calls is unknown: then calls stay in the text."""
        self.reasoning = reasoning_parser_for(encoder.template.source)
        """None if the model's template knows no reasoning: then all of an answer is content."""
        digest = hashlib.sha256(f"{card.name}\n{encoder.template.source}".encode()).hexdigest()
        self.fingerprint = f"fp_{digest[:10]}"
        """OpenAI's `system_fingerprint`: changes with what could change answers on this side."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens, for grammars."""
        return vocabulary_of(self.card, self.card.vocab_size)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.encoder.tokenizer


def load_text(card: ModelCard) -> ServedModel:
    """The model of a card. Raises `engine.text.errors.TextError` with a reason for the operator:
    also for a template that cannot even render a greeting, before anybody sends one."""
    encoder = PromptEncoder.from_folder(Path(card.path))
    if not encoder.encode([{"role": "user", "content": "Hello"}]):
        raise TemplateFailed("the chat template renders a greeting as nothing")
    return ServedModel(card, encoder)


class ServedModels:
    """All that is served, by name; the first one is the one named on the command line."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._models = {model.name: model for model in models}

    def find(self, name: str) -> ServedModel:
        """The model of that name. Raises `ModelNotFound`."""
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(name)
        return model
