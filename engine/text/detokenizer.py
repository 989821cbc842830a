"""Token ids to text, piece by piece: what is given out is final and is never taken back.

Whatever the split, the pieces joined equal one `Tokenizer.decode` of all ids. Total cost is linear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.text.tokenizer import Tokenizer


class Detokenizer:
    """The text of one sequence. Unknown ids are nothing, and so are special tokens unless
    `skip_special_tokens` is False: then they appear by their names.

    Held back: bytes that begin a character, and for a SentencePiece model a run of byte tokens
    (one bad byte changes all of the run). A tokenizer whose decoder is unknown to `Decoder`
    gives all its text at the end.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._stages = tokenizer.decoder.start()
        self._held_ids: list[int] = []

    def push(self, ids: Sequence[int]) -> str:
        """Take the next ids of the sequence; give the text that is final now, often "".

        Raises OverflowError for an id below 0 or above 2^32.
        """
        if not self._tokenizer.decoder.is_incremental:
            self._held_ids += ids
            return ""
        skip = self._skip_special_tokens
        tokens = (self._tokenizer.visible_token(token_id, skip) for token_id in ids)
        pieces = [token for token in tokens if token is not None]
        for stage in self._stages:
            pieces = stage.push(pieces)
        return "".join(pieces)

    def finish(self) -> str:
        """Give the rest; half a character becomes U+FFFD. Nothing may be pushed afterwards."""
        if not self._tokenizer.decoder.is_incremental:
            return self._tokenizer.decode(self._held_ids, self._skip_special_tokens)
        pieces: list[str] = []
        for stage in self._stages:
            pieces = stage.push(pieces) + stage.finish()
        return "".join(pieces)
