"""A byte-level BPE tokenizer of 32 768 tokens, trained on text that is the same everywhere.

The text is made-up words as often as Zipf's law says, and the words that prompts of a bench are
made of, each so often that it is one token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.bench.workload.words import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tokenizers import Tokenizer

VOCAB_SIZE = 32_768
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END = VOCAB_SIZE - 1
"""The id of <|im_end|>, the last."""

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizers split text."""

_NUM_MADE_UP = 40_000
_MOST_OFTEN = 1000
"""How often the commonest of the made-up words occurs; the second half as often, and so on."""
_REAL_OFTEN = 100
_ONSETS = tuple("bcdfghjklmnprstvwz")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_CODAS = ("", "", "n", "r", "s", "t", "l", "m")


def save_tokenizer(folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json. Raises `OSError`."""
    tokenizer = train_tokenizer(_corpus(), VOCAB_SIZE - len(SPECIAL))
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    (folder / "tokenizer_config.json").write_text(f'{{"eos_token": "{SPECIAL[-1]}"}}')


def train_tokenizer(corpus: Iterator[str], num_own_tokens: int) -> Tokenizer:
    """With exactly so many tokens, and the special ones after them."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=num_own_tokens,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    assert tokenizer.get_vocab_size() == num_own_tokens
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return tokenizer


def _corpus() -> Iterator[str]:
    for word in WORDS:
        yield f" {word}" * _REAL_OFTEN
        yield f"{word}\n" * _REAL_OFTEN  # at the beginning of a text no space is before it
    for rank in range(1, _NUM_MADE_UP + 1):
        yield f" {_made_up(rank)}" * max(1, _MOST_OFTEN // rank)


def _made_up(number: int) -> str:
    """A word of two to four syllables. By arithmetic: no library's chance is for ever the same."""
    # The multiplier of Knuth's MMIX generator: it spreads neighbours far apart.
    state = number * 6_364_136_223_846_793_005 % 2**64
    word = ""
    for _ in range(2 + number % 3):
        for parts in (_ONSETS, _VOWELS, _CODAS):
            state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
            word += parts[(state >> 33) % len(parts)]
    return word
