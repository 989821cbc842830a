"""Text to token ids and back, by the model's tokenizer.json and the `tokenizers` library.

It equals what transformers does with the same folder. It knows nothing of chats: see
`PromptEncoder` for prompts that hold text of users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tokenizers
from tokenizers import AddedToken

from engine.text.decoder import Decoder
from engine.text.errors import TokenizerUnusable
from engine.text.model_files import read_json_object, special_token_texts, token_text
from engine.text.tokenizer_file import TokenizerFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Tokenizer:
    """One model's tokenizer. Immutable after construction, so threads may share it."""

    def __init__(self, backend: tokenizers.Tokenizer, file: TokenizerFile) -> None:
        self._backend = backend
        self.added_tokens: Mapping[int, AddedToken] = backend.get_added_tokens_decoder()
        special = (token for token in self.added_tokens.values() if token.special)
        self._special_texts = frozenset(token.content for token in special)
        self.unknown_id = file.unknown_id(backend)
        self.decoder = Decoder.from_spec(file.decoder)
        self.longest_token_chars = file.longest_token_chars(
            backend.get_vocab(with_added_tokens=False), self.added_tokens.values()
        )
        """How many characters one token can stand for: a text of more than `n` times this cannot
        fit into n tokens. sys.maxsize where the tokenizer sets no bound."""

    @classmethod
    def from_folder(cls, path: Path) -> Tokenizer:
        """The tokenizer of a model folder: tokenizer.json, and tokenizer_config.json if present.

        Raises TokenizerUnusable, or TextError for a broken tokenizer_config.json.
        """
        file = TokenizerFile.read(path / "tokenizer.json")
        try:
            backend = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception for a broken file
            raise TokenizerUnusable(f"tokenizer.json is no tokenizer: {error}") from error
        # Training leaves these in the file; served text is neither cut nor padded.
        backend.no_truncation()
        backend.no_padding()
        _add_configured_tokens(backend, path)
        return cls(backend, file)

    @property
    def backend(self) -> tokenizers.Tokenizer:
        """The library's object, for the parts of this package that build on it. Do not change it."""
        return self._backend

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included; a model's logits may be wider."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The ids of `text`; added tokens in it are found, so it must not hold text of users.

        `add_special_tokens` adds what the tokenizer puts around a bare text (a BOS, mostly); a
        rendered chat template has written its own already.
        """
        # `encode` holds the interpreter's lock, 2 s for a million characters; the batch call does
        # not, and is faster for not keeping offsets.
        (encoding,) = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return encoding.ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of `ids`, invalid UTF-8 as U+FFFD, spaces untouched; unknown ids are nothing."""
        return self._backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token by its exact text in the vocabulary."""
        return self._backend.token_to_id(token)

    def visible_token(self, token_id: int, skip_special_tokens: bool = True) -> str | None:
        """A token as its vocabulary writes it; None for unknown ids, and for special ones if so."""
        token = self._backend.id_to_token(token_id)
        return None if skip_special_tokens and token in self._special_texts else token

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for in the middle of a text; of an unknown id b"".

        They may be part of a character. A special token stands for its own name.
        Raises OverflowError for an id below 0 or above 2^32.
        """
        token = self._backend.id_to_token(token_id)
        if token is None:
            return b""
        if token in self._special_texts:
            return token.encode("utf-8")
        if self.decoder.is_incremental:
            return self.decoder.token_bytes(token)
        return self.decode([token_id]).encode("utf-8")


def _add_configured_tokens(backend: tokenizers.Tokenizer, path: Path) -> None:
    """Add the tokens that only tokenizer_config.json names, in transformers' order."""
    config = read_json_object(path / "tokenizer_config.json")
    present = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    texts = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing: list[AddedToken] = []
    for token in _configured_tokens(config):
        if repr(token) not in present:
            missing.append(token)
            texts.add(token.content)
    named = [*special_token_texts(path).values(), *_extra_special_texts(config)]
    missing += [
        AddedToken(text, special=True) for text in dict.fromkeys(named) if text not in texts
    ]
    if missing:
        backend.add_tokens(missing)


def _configured_tokens(config: Mapping[str, object]) -> list[AddedToken]:
    entries = config.get("added_tokens_decoder")
    if not isinstance(entries, dict):
        return []
    in_order = sorted((int(key), entry) for key, entry in entries.items() if str(key).isdigit())
    return [
        AddedToken(
            text,
            single_word=entry.get("single_word") is True,
            lstrip=entry.get("lstrip") is True,
            rstrip=entry.get("rstrip") is True,
            normalized=entry.get("normalized", entry.get("special") is not True) is True,
            special=entry.get("special") is True,
        )
        for _, entry in in_order
        if isinstance(entry, dict) and (text := token_text(entry)) is not None
    ]


def _extra_special_texts(config: Mapping[str, object]) -> list[str]:
    found: list[str] = []
    for name in ("additional_special_tokens", "extra_special_tokens"):
        tokens = config.get(name)
        if isinstance(tokens, dict):
            tokens = list(tokens.values())
        if isinstance(tokens, list):
            found += [text for token in tokens if (text := token_text(token)) is not None]
    return found
