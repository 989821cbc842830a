"""A model's tokens as llguidance sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from llguidance import LLParserLimits, LLTokenizer

    from engine.models.card import ModelCard


class Vocabulary(msgspec.Struct, frozen=True):
    """What it takes to know a model's tokens. `vocab_size` is the width of its logits."""

    tokenizer_file: str
    vocab_size: int
    eos_token_ids: tuple[int, ...]

    def open(self) -> LLTokenizer:
        """The library's own tokenizer: a second and 180 MB for 150 000 tokens."""
        import llguidance

        return llguidance.LLTokenizer(
            self.tokenizer_file, n_vocab=self.vocab_size, eos_token=list(self.eos_token_ids)
        )


def vocabulary_of(card: ModelCard, vocab_size: int) -> Vocabulary:
    """The vocabulary of a model."""
    return Vocabulary(str(Path(card.path) / "tokenizer.json"), vocab_size, card.eos_token_ids)


def limits() -> LLParserLimits:
    """Of memory and work: a grammar that needs more ends its own request, not the step."""
    import llguidance

    return llguidance.LLParserLimits(
        verbose_errors=False,
        initial_lexer_fuel=500_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000,
        max_items_in_row=2000,
        max_lexer_states=50_000,
        max_grammar_size=200_000,
    )
