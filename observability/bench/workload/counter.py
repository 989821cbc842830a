"""`Counter`: how many tokens a text has for the model that is measured.

Special tokens are left out: neither a BOS nor what a chat template adds is of the text.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from observability.bench.ask import ask
from observability.bench.errors import CannotMeasure, WrongOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tokenizers

    from observability.bench.plan import Target

_ADVICE = "give the model's tokenizer with --tokenizer FOLDER"
_MAX_TEXTS_AT_ONCE = 64
"""Of a local tokenizer: what it makes of them is held in memory until they are counted."""
_NUM_QUESTIONS_AT_ONCE = 8
"""Of a server, which is not measured yet."""
_TIMEOUT_S = 60.0


class Counter(Protocol):
    """Counts as the model's own tokenizer does. The same text has always the same count."""

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text. Raises `CannotAsk` or `CannotMeasure` if they cannot be known."""
        ...

    def count(self, text: str) -> int:
        """Tokens of one text. Raises as `counts` does."""
        ...


class TokenizerCounter:
    """By a tokenizer.json on this machine."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        """The tokenizer is no longer cut or padded by what its training left in it."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    @classmethod
    def from_path(cls, path: Path) -> TokenizerCounter:
        """The file, or the folder that holds it. Raises `WrongOption`."""
        # Imported here: whoever counts by the server needs it not.
        from tokenizers import Tokenizer

        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            return cls(Tokenizer.from_buffer(file.read_bytes()))
        except OSError as error:
            raise WrongOption(
                f"--tokenizer {path}: no tokenizer.json can be read there ({error.strerror})"
            ) from None
        except Exception as error:  # the library raises bare Exception for a broken file
            raise WrongOption(f"--tokenizer {file} is no tokenizer: {error}") from None

    def counts(self, texts: Sequence[str]) -> list[int]:
        found: list[int] = []
        for begin in range(0, len(texts), _MAX_TEXTS_AT_ONCE):
            some = list(texts[begin : begin + _MAX_TEXTS_AT_ONCE])
            encodings = self._tokenizer.encode_batch_fast(some, add_special_tokens=False)
            found += map(len, encodings)
        return found

    def count(self, text: str) -> int:
        return self.counts([text])[0]


class _Counted(msgspec.Struct):
    """What /tokenize answers: vLLM's and Kvorum's with `count`, llama.cpp's without."""

    count: int | None = None
    tokens: list[object] | None = None


class ServerCounter:
    """By `POST /tokenize` of the server itself, in the form that it understands."""

    def __init__(self, target: Target, api_key: str | None = None) -> None:
        self._target = target
        self._api_key = api_key
        self._takes_content: bool | None = None
        """As llama.cpp does; None until a first question was answered."""

    def counts(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        first = self.count(texts[0])  # alone: it finds out how this server is asked
        with ThreadPoolExecutor(_NUM_QUESTIONS_AT_ONCE, "bench-count") as threads:
            return [first, *threads.map(self.count, texts[1:])]

    def count(self, text: str) -> int:
        if self._takes_content is None:
            self._takes_content = self._has_other_form(text)
        counted = self._ask(text, self._takes_content)
        num = counted.count
        if num is None and self._takes_content and counted.tokens is not None:
            num = len(counted.tokens)
        if num is None:
            raise CannotMeasure(f"{self._target.url}/tokenize says no number of tokens; {_ADVICE}")
        return num

    def _has_other_form(self, text: str) -> bool:
        try:
            return self._ask(text, takes_content=False).count is None
        except CannotMeasure:
            return True

    def _ask(self, text: str, takes_content: bool) -> _Counted:
        body: dict[str, object] = {
            "model": self._target.model,
            "prompt": text,
            "add_special_tokens": False,
        }
        status, answer = ask(
            self._target.url,
            "/tokenize",
            body=msgspec.json.encode({"content": text} if takes_content else body),
            api_key=self._api_key,
            is_insecure=self._target.is_insecure,
            timeout_s=_TIMEOUT_S,
        )
        if status == 401:
            raise CannotMeasure(f"{self._target.url} wants the right key: give it with --api-key")
        try:
            if status == 200:
                return msgspec.json.decode(answer, type=_Counted)
        except (msgspec.DecodeError, msgspec.ValidationError):
            pass
        raise CannotMeasure(
            f"{self._target.url}/tokenize answers {status} and counts nothing; {_ADVICE}"
        )


def counter_of(tokenizer: str | None, target: Target, api_key: str | None = None) -> Counter:
    """A local tokenizer if one is named, else the server's.

    Raises `WrongOption` if there is no tokenizer where the option says. Whether the server counts
    is known when it is first asked.
    """
    if tokenizer is not None:
        return TokenizerCounter.from_path(Path(tokenizer).expanduser())
    return ServerCounter(target, api_key)
