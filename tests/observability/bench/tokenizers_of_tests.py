"""Tokenizers that make it hard: bytes alone, merges across words, few letters, no bytes at all."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from engine.models.registry import resolve
from observability.bench.workload.words import WORDS


def embedded() -> Tokenizer:
    """That of the model that comes with the package: many words are one token."""
    return Tokenizer.from_file(str(Path(resolve().path) / "tokenizer.json"))


def bytes_alone() -> Tokenizer:
    """A token for each byte."""
    alphabet = {token: index for index, token in enumerate(sorted(_alphabet()))}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def across_words() -> Tokenizer:
    """Tokens that hold two words and parts of words: what a word costs depends on the others."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    texts = [" ".join(WORDS[n:] + WORDS[:n]) for n in range(40)]
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=_alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def few_letters() -> Tokenizer:
    """Words by a mark before them, as SentencePiece has it; what is unknown is nothing."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=60, show_progress=False)
    tokenizer.train_from_iterator(["the other tree there he her hero to toe " * 9], trainer)
    return tokenizer


def _alphabet() -> list[str]:
    return pre_tokenizers.ByteLevel.alphabet()
