"""`TokenCounts`: which tokens have come in a sequence and how often, for the rows that ask for it.

A row's distinct tokens stand in a list on the device; which place a token has in it, the host
knows. So a step adds its new tokens in one go, no history travels, and who reads the counts pays
for the tokens that have come, not for the vocabulary. Shapes: B rows, N distinct tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_FIRST_WIDTH = 256


class TokenCounts:
    """int32 lists of the rows that were started and not dropped, each in a slot of its own."""

    def __init__(self, num_rows: int, vocab_size: int, device: torch.device) -> None:
        self._vocab_size = vocab_size
        self._device = device
        self._slot = np.full(num_rows, -1)
        self._free: list[int] = []
        self._places: list[dict[int, int]] = []  # by slot: where in the list each token stands
        self._ids = torch.zeros(0, _FIRST_WIDTH, dtype=torch.int32, device=device)
        self._counts = torch.zeros_like(self._ids)

    def start(self, row: int, seen: Sequence[int], counted: Sequence[int]) -> None:
        """List a sequence anew: tokens that have been seen, and those that also count. Ids outside
        of the vocabulary are ignored."""
        counted_ids, counts = np.unique(self._known(counted), return_counts=True)
        ids = np.union1d(self._known(seen), counted_ids)
        all_counts = np.zeros(len(ids), np.int32)
        all_counts[np.searchsorted(ids, counted_ids)] = counts
        if self._slot[row] < 0:
            self._slot[row] = self._take_slot()
        slot = int(self._slot[row])
        self._places[slot] = {token: place for place, token in enumerate(ids.tolist())}
        self._widen(len(ids))
        self._counts[slot].zero_()
        self._counts[slot, : len(ids)] = self._to_device(all_counts)
        self._ids[slot, : len(ids)] = self._to_device(ids.astype(np.int32))

    def drop(self, row: int) -> None:
        """The row is not counted any more, if it was."""
        if self._slot[row] >= 0:
            slot = int(self._slot[row])
            self._places[slot] = {}
            self._free.append(slot)
            self._slot[row] = -1

    def are_counted(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the rows are."""
        is_counted: npt.NDArray[np.bool_] = self._slot[rows_B] >= 0
        return is_counted

    def note(self, rows_B: npt.NDArray[np.int64], token_ids_B: npt.NDArray[np.int64]) -> None:
        """Each of the rows, if it is counted, has got a token; below 0: none."""
        is_noted = self.are_counted(rows_B) & (token_ids_B >= 0)
        if not is_noted.any():
            return
        slots, tokens = self._slot[rows_B[is_noted]], token_ids_B[is_noted]
        places = []
        for slot, token in zip(slots.tolist(), tokens.tolist(), strict=True):
            of_slot = self._places[slot]
            places.append(of_slot.setdefault(token, len(of_slot)))
        self._widen(max(places) + 1)
        packed = self._to_device(np.stack([slots, np.asarray(places), tokens]))
        one = torch.ones((), dtype=torch.int32, device=self._device)
        self._ids[packed[0], packed[1]] = packed[2].int()
        self._counts.index_put_((packed[0], packed[1]), one, accumulate=True)

    def read(
        self, rows_B: npt.NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Token ids int64, counts float32, and whether there is a token, [B, N] each. All rows are
        counted. Where there is no token the row's first one stands again, or 0 if it has none."""
        slots = self._slot[rows_B]
        lengths = np.asarray([len(self._places[slot]) for slot in slots.tolist()])
        packed = self._to_device(np.stack([slots, lengths]))
        width = max(1, int(lengths.max()))
        is_token = torch.arange(width, device=self._device) < packed[1][:, None]
        ids = self._ids[:, :width].index_select(0, packed[0]).long()
        first = ids[:, :1] * (packed[1] > 0)[:, None]
        counts = self._counts[:, :width].index_select(0, packed[0])
        return ids.where(is_token, first), counts.float(), is_token

    def _known(self, token_ids: Sequence[int]) -> npt.NDArray[np.int64]:
        ids = np.asarray(token_ids, np.int64)
        return ids[(ids >= 0) & (ids < self._vocab_size)]

    def _take_slot(self) -> int:
        if not self._free:
            size = len(self._places)
            self._resize(max(1, 2 * size), self._ids.shape[1])
            self._free = list(range(size, len(self._ids)))
            self._places += [{} for _ in self._free]
        return self._free.pop()

    def _widen(self, width: int) -> None:
        if width > self._ids.shape[1]:
            self._resize(len(self._ids), max(width, 2 * self._ids.shape[1]))

    def _resize(self, num_slots: int, width: int) -> None:
        for name in ("_ids", "_counts"):
            old: torch.Tensor = getattr(self, name)
            new = torch.zeros(num_slots, width, dtype=torch.int32, device=self._device)
            new[: len(old), : old.shape[1]] = old
            setattr(self, name, new)

    def _to_device(self, array: npt.NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)
