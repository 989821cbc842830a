"""`Chunks`: rows cut into pieces, so that most of a row is read once, in the fastest way there is.

A maximum or a sum of each piece is a vectorised pass; what needs more (which column, the largest
few, a cumulative sum) then looks at a few pieces only. On a CPU `amax` costs a twentieth of
`argmax`. Shapes: B rows, V columns, C pieces; the last may be shorter.
"""

from __future__ import annotations

import torch


class Chunks:
    """Pieces of `size` columns in rows of `width`."""

    def __init__(self, width: int, size: int) -> None:
        self._width = width
        self._size = size
        self._num_whole = width // size
        self._end = self._num_whole * size

    def amax(self, values_BV: torch.Tensor) -> torch.Tensor:
        """The maximum of each piece, [B, C]; NaN where there is one."""
        head, tail = self._split(values_BV)
        maxima = head.amax(dim=-1)
        if self._end == self._width:
            return maxima
        return torch.cat([maxima, tail.amax(dim=-1, keepdim=True)], dim=-1)

    def sums(self, values_BV: torch.Tensor) -> torch.Tensor:
        """The sum of each piece, float64 [B, C]."""
        head, tail = self._split(values_BV)
        sums = head.double().sum(dim=-1)
        if self._end == self._width:
            return sums
        return torch.cat([sums, tail.double().sum(dim=-1, keepdim=True)], dim=-1)

    def gather(
        self, values_BV: torch.Tensor, chunks_BK: torch.Tensor, fill: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and columns of K pieces of each row, [B, K * size] both.

        Beyond the row's end the value is `fill` and the column the row's last.
        """
        steps = torch.arange(self._size, device=values_BV.device)
        columns = (chunks_BK[:, :, None] * self._size + steps).flatten(1)
        inside = columns.clamp(max=self._width - 1)
        return values_BV.gather(1, inside).masked_fill_(columns != inside, fill), inside

    def argmax(self, values_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The maximum of each row and its first column, [B] both; (NaN, any) if there is one."""
        peak_B, chunk_B = self.amax(values_BV).max(dim=-1)
        values, columns = self.gather(values_BV, chunk_B[:, None], -torch.inf)
        return peak_B, columns.gather(1, values.argmax(dim=-1, keepdim=True))[:, 0]

    def top(self, values_BV: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The `count` largest of each row in falling order, and their columns; ties in any order.

        They lie in the `count` pieces with the largest maxima. Where less than `count` are above
        -inf, what follows has the value -inf and any column.
        """
        count = min(count, self._width)
        if self._num_whole <= count:
            return values_BV.topk(count, dim=-1)
        chunks = self.amax(values_BV).topk(count, dim=-1, sorted=False).indices
        values, columns = self.gather(values_BV, chunks, -torch.inf)
        top, at = values.topk(count, dim=-1)
        return top, columns.gather(1, at)

    def _split(self, values_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        head = values_BV[:, : self._end].view(len(values_BV), self._num_whole, self._size)
        return head, values_BV[:, self._end :]
