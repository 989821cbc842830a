"""`TokenCounts`: how often each token has come in a sequence, for the rows that ask for it.

A row's counts take 4 bytes for each token of the vocabulary, on the device, so that the step's new
tokens are noted in one go and no history travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_IN_PROMPT = 1 << 30
"""Added to the count of a token that the prompt holds: what is above 0 has been seen."""


class TokenCounts:
    """int32 counts for the rows that were started and not dropped. V: vocabulary."""

    def __init__(self, num_rows: int, vocab_size: int, device: torch.device) -> None:
        self._vocab_size = vocab_size
        self._device = device
        self._slot = np.full(num_rows, -1)
        self._free: list[int] = []
        self._counts = torch.zeros(0, vocab_size, dtype=torch.int32, device=device)

    def start(self, row: int, token_ids: Sequence[int], num_prompt_tokens: int) -> None:
        """Count a sequence anew; ids outside of the vocabulary are ignored."""
        counts = self._count(token_ids[num_prompt_tokens:])
        counts += (self._count(token_ids[:num_prompt_tokens]) > 0) * np.int32(_IN_PROMPT)
        if self._slot[row] < 0:
            self._slot[row] = self._take()
        self._counts[int(self._slot[row])] = torch.from_numpy(counts).to(self._device)

    def drop(self, row: int) -> None:
        """The row is not counted any more, if it was."""
        if self._slot[row] >= 0:
            self._free.append(int(self._slot[row]))
            self._slot[row] = -1

    def are_counted(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the rows are."""
        is_counted: npt.NDArray[np.bool_] = self._slot[rows_B] >= 0
        return is_counted

    def note(self, rows_B: npt.NDArray[np.int64], token_ids_B: npt.NDArray[np.int64]) -> None:
        """Each of the rows, if it is counted, has got a token; below 0: none."""
        is_noted = self.are_counted(rows_B) & (token_ids_B >= 0)
        if is_noted.any():
            slots = torch.from_numpy(self._slot[rows_B[is_noted]]).to(self._device)
            tokens = torch.from_numpy(token_ids_B[is_noted]).to(self._device)
            one = torch.ones((), dtype=torch.int32, device=self._device)
            self._counts.index_put_((slots, tokens), one, accumulate=True)

    def read(self, rows_B: npt.NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether each token was seen in prompt or output, bool [B, V]; and how often in the
        output, float32 [B, V]. All rows are counted."""
        counts = self._counts[torch.from_numpy(self._slot[rows_B]).to(self._device)]
        return counts > 0, counts.bitwise_and(_IN_PROMPT - 1).float()

    def _count(self, token_ids: Sequence[int]) -> npt.NDArray[np.int32]:
        ids = np.asarray(token_ids, np.int64)
        ids = ids[(ids >= 0) & (ids < self._vocab_size)]
        return np.bincount(ids, minlength=self._vocab_size).astype(np.int32)

    def _take(self) -> int:
        if not self._free:
            size = len(self._counts)
            grown = torch.zeros(
                max(1, 2 * size), self._vocab_size, dtype=torch.int32, device=self._device
            )
            grown[:size] = self._counts
            self._counts = grown
            self._free = list(range(size, len(grown)))
        return self._free.pop()
