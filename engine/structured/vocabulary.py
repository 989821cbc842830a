"""A model's tokens as llguidance sees them, and which of them grammars allow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from llguidance import LLMatcher

    from engine.models.card import ModelCard


class Vocabulary(msgspec.Struct, frozen=True):
    """What it takes to know a model's tokens. `vocab_size` is the width of its logits."""

    tokenizer_file: str
    vocab_size: int
    eos_token_ids: tuple[int, ...]

    def open(self) -> OpenVocabulary:
        """Ready for grammars: a second and 180 MB for 150 000 tokens."""
        return OpenVocabulary(self)


def vocabulary_of(card: ModelCard, vocab_size: int) -> Vocabulary:
    """The vocabulary of a model."""
    return Vocabulary(str(Path(card.path) / "tokenizer.json"), vocab_size, card.eos_token_ids)


class OpenVocabulary:
    """Makes matchers, and says what they allow.

    A control token is never allowed, whatever a grammar says, but for those that end a text. The
    library takes `<tool_call>` in a user's text for the token of that name: so its tokenizer knows
    such tokens under other names, and a grammar can mean one by its id only (`<[5]>`).
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        import llguidance

        file = json.loads(Path(vocabulary.tokenizer_file).read_text())
        file |= {"post_processor": None, "truncation": None, "padding": None}
        self._size = vocabulary.vocab_size
        is_allowed = np.ones(-(-self._size // 32) * 32, bool)
        is_allowed[self._size :] = False
        for token in file["added_tokens"]:
            if token["id"] < self._size and token["special"]:
                is_allowed[token["id"]] = token["id"] in vocabulary.eos_token_ids
            if token["special"] or token["content"].lstrip().startswith("<"):
                token |= {"content": f"<|{token['id']}|>\x00", "special": True, "normalized": False}
        self._is_allowed = is_allowed[: self._size]
        self._tokenizer = llguidance.LLTokenizer(
            json.dumps(file), n_vocab=self._size, eos_token=list(vocabulary.eos_token_ids)
        )
        # Of memory and work: a grammar that needs more ends its own request, not the step.
        self._limits = llguidance.LLParserLimits(
            verbose_errors=False,
            initial_lexer_fuel=500_000,
            step_lexer_fuel=200_000,
            step_max_items=50_000,
            max_items_in_row=2000,
            max_lexer_states=50_000,
            max_grammar_size=200_000,
        )
        self._executor = llguidance.LLExecutor(num_threads=1)

    def matcher(self, grammar: str) -> LLMatcher:
        """At the grammar's beginning. It never raises: see its `is_error`."""
        import llguidance

        return llguidance.LLMatcher(self._tokenizer, grammar, limits=self._limits, log_level=0)

    def allowed(self, matchers: Sequence[LLMatcher]) -> npt.NDArray[np.bool_]:
        """Which tokens may come next: [C, V]. A matcher that fails allows nothing.

        One call for all: each waits for the interpreter once.
        """
        import llguidance.numpy

        words = np.zeros((len(matchers), -(-self._size // 32)), np.int32)
        llguidance.numpy.fill_next_token_bitmask_par(
            self._executor, [(matcher, row) for row, matcher in enumerate(matchers)], words
        )
        # After an error the library's mask is "the end", as if all were well.
        words[[matcher.is_error() for matcher in matchers]] = 0
        bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
        return bits[:, : self._size].astype(bool) & self._is_allowed
