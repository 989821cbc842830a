"""`ModelRegistry`: all that may be served, by name and by alias. No request can add to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from engine.config import EngineConfig
from service.errors import ModelNotFound
from service.served_model import ServedModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.models.card import ModelCard


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model, loaded or not. `load_text` reads its tokenizer and template, which takes a while
    and raises `TextError`."""

    config: EngineConfig
    load_text: Callable[[], ServedModel]
    aliases: tuple[str, ...] = ()
    is_pinned: bool = False
    timeout_s: float = 0.0
    """Idle seconds after which it is unloaded; 0: never."""

    @property
    def card(self) -> ModelCard:
        return self.config.card

    @property
    def name(self) -> str:
        return self.config.card.name

    @property
    def max_model_len(self) -> int:
        """Its context, if the memory allows it."""
        longest = self.card.max_model_len
        return min(self.config.max_model_len or longest, longest)


class ModelRegistry:
    """The first model is the one that is loaded at the start and comes first in lists."""

    def __init__(self, models: Sequence[RegisteredModel]) -> None:
        """Raises ValueError: two models have one name."""
        self.first = models[0]
        self._models = {model.name: model for model in models}
        self._by_name: dict[str, RegisteredModel] = {}
        for model in models:
            for name in (model.name, *model.aliases):
                if self._by_name.setdefault(name, model) is not model:
                    raise ValueError(f"two models are named {name}")

    def __iter__(self) -> Iterator[RegisteredModel]:
        return iter(self._models.values())

    def find(self, name: str) -> RegisteredModel:
        """The model of that name or alias. Raises `ModelNotFound`."""
        model = self._by_name.get(name)
        if model is None:
            raise ModelNotFound(name)
        return model
