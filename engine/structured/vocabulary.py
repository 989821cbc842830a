"""A model's tokens as llguidance sees them, and which of them grammars allow."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from engine.text.tool_parsers.select import SPECIAL_MARKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from llguidance import LLMatcher

    from engine.models.card import ModelCard

REASONING_MARKS = frozenset(
    {
        *("<think>", "</think>", "[THINK]", "[/THINK]", "<seed:think>", "</seed:think>"),
        *("<|channel>", "<channel|>"),
    }
)
SAYABLE = SPECIAL_MARKS | REASONING_MARKS
"""Special tokens that an answer may hold: those that calls are written with, and of reasoning."""


class Vocabulary(msgspec.Struct, frozen=True):
    """What it takes to know a model's tokens. `vocab_size` is the width of its logits."""

    tokenizer_file: str
    vocab_size: int
    eos_token_ids: tuple[int, ...]

    def open(self) -> OpenVocabulary:
        """Ready for grammars: a second and 180 MB for 150 000 tokens.

        Raises UnusableVocabulary: the library cannot read such a tokenizer, or nothing ends a text.
        """
        return OpenVocabulary(self)


def vocabulary_of(card: ModelCard, vocab_size: int) -> Vocabulary:
    """The vocabulary of a model."""
    return Vocabulary(str(Path(card.path) / "tokenizer.json"), vocab_size, card.eos_token_ids)


class UnusableVocabulary(Exception):
    """No answer of this model can be held to a grammar; the text says why."""


class OpenVocabulary:
    """Makes matchers, and says what they allow.

    A special token is never allowed, whatever a grammar says, but for those that end a text and the
    `SAYABLE` ones. The library takes `<tool_call>` in a user's text for the token of that name: so
    its tokenizer knows control tokens under other names, and a grammar can mean one by its id only
    (`<[5]>`).
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        import llguidance

        file = json.loads(Path(vocabulary.tokenizer_file).read_text())
        added = file.get("added_tokens") or []
        size, ends = vocabulary.vocab_size, vocabulary.eos_token_ids
        self.ends = [token_id for token_id in ends if token_id < size]
        if not self.ends:
            raise UnusableVocabulary("no token of it ends a text")
        special = [
            token["id"]
            for token in added
            if token["special"] and token["id"] < size and token["content"] not in SAYABLE
        ]
        self._is_allowed = np.ones(size, bool)
        self._is_allowed[special] = False
        self._is_allowed[self.ends] = True
        # Weights may have fewer rows than there are tokens, or more.
        self._num_tokens = max(
            [size, _num_own_tokens(file["model"]), *(token["id"] + 1 for token in added)]
        )
        try:
            self._tokenizer = llguidance.LLTokenizer(
                json.dumps(_with_control_tokens_renamed(file)),
                n_vocab=self._num_tokens,
                eos_token=self.ends,
            )
        except ValueError as error:
            raise UnusableVocabulary(str(error)) from None
        # Of memory and work: a grammar that needs more ends its own request, not the step.
        self._limits = llguidance.LLParserLimits(
            verbose_errors=False,
            initial_lexer_fuel=500_000,
            step_lexer_fuel=200_000,
            step_max_items=50_000,
            max_items_in_row=4000,
            max_lexer_states=12_000,
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

        words = np.zeros((len(matchers), -(-self._num_tokens // 32)), np.int32)
        llguidance.numpy.fill_next_token_bitmask_par(
            self._executor, [(matcher, row) for row, matcher in enumerate(matchers)], words
        )
        return self._read(words, matchers)

    def allowed_by(self, matcher: LLMatcher) -> npt.NDArray[np.bool_]:
        """Which tokens may come next: [V]. All of the work is done by the calling thread."""
        import llguidance.numpy

        words = np.zeros((1, -(-self._num_tokens // 32)), np.int32)
        llguidance.numpy.fill_next_token_bitmask(matcher, words, 0)
        (allowed,) = self._read(words, [matcher])
        return np.asarray(allowed)

    @property
    def nothing(self) -> npt.NDArray[np.bool_]:
        """A mask that lets nothing through: [V], all True."""
        return np.ones(len(self._is_allowed), bool)

    def _read(
        self, words: npt.NDArray[np.int32], matchers: Sequence[LLMatcher]
    ) -> npt.NDArray[np.bool_]:
        # After an error the library's mask is "the end", as if all were well.
        words[[matcher.is_error() for matcher in matchers]] = 0
        bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
        allowed: npt.NDArray[np.bool_] = bits[:, : len(self._is_allowed)].astype(bool)
        return allowed & self._is_allowed

    def forced(self, matcher: LLMatcher) -> list[int]:
        """The tokens that can only come next, as the tokenizer would write their text; also the
        end, where nothing else may follow. Empty if there is a choice, or an error."""
        ids = matcher.compute_ff_tokens()
        if not ids and matcher.stop_reason() == "NoExtension":
            return self.ends[:1]
        return list(takewhile(self._is_allowed.__getitem__, ids))


def is_control(content: str, is_special: bool) -> bool:
    """Whether no text of a grammar means that added token."""
    return is_special or content.lstrip().startswith("<") or content in SAYABLE


def _num_own_tokens(model: dict[str, Any]) -> int:
    """Of the tokens that are not added: ids by name, or names in order with a score each."""
    vocab = model["vocab"]
    return 1 + max(vocab.values(), default=-1) if isinstance(vocab, dict) else len(vocab)


def _with_control_tokens_renamed(file: dict[str, Any]) -> dict[str, Any]:
    """They may stand among the model's own tokens too, and must have one name in both."""
    names = {
        token["content"]: f"<|{token['id']}|>\x00"
        for token in file.get("added_tokens") or []
        if is_control(token["content"], token["special"])
    }
    added = [
        token
        if token["content"] not in names
        else token | {"content": names[token["content"]], "special": True, "normalized": False}
        for token in file.get("added_tokens") or []
    ]
    vocab = file["model"]["vocab"]
    if isinstance(vocab, dict):
        vocab = {names.get(name, name): token_id for name, token_id in vocab.items()}
    else:
        vocab = [[names.get(name, name), score] for name, score in vocab]
    return file | {
        "added_tokens": added,
        "model": file["model"] | {"vocab": vocab},
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }
