"""`TokenRange`: a number of tokens, or numbers spread evenly around it: `512`, `512~0.3`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from observability.bench.errors import WrongOption

if TYPE_CHECKING:
    import numpy as np


class TokenRange(msgspec.Struct, frozen=True):
    """From `low` to `high`, both included; each number is as likely as another."""

    low: int
    high: int

    @classmethod
    def of(cls, words: str) -> TokenRange:
        """`512~0.3` is 30 % around 512: from 358 to 666. Raises `WrongOption`."""
        middle_text, tilde, spread_text = words.strip().partition("~")
        try:
            middle = int(middle_text)
            spread = float(spread_text) if tilde else 0.0
        except ValueError:
            raise WrongOption(
                f"{words!r} is no number of tokens; it is a number, or one with its spread: 512~0.3"
            ) from None
        if middle < 1 or not 0 <= spread < 1:
            raise WrongOption(f"{words!r}: a number of tokens is at least 1 and its spread below 1")
        low = max(1, round(middle * (1 - spread)))
        return cls(low, max(low, round(middle * (1 + spread))))

    def draw(self, num: int, generator: np.random.Generator) -> list[int]:
        """So many numbers."""
        return [int(one) for one in generator.integers(self.low, self.high + 1, num)]
