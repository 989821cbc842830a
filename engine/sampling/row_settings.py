"""`RowSettings`: how the token of each row is drawn, in arrays that a step reads by index."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

import numpy as np

from engine.sampling.filters import NUM_CANDIDATES
from engine.sampling.noise import uniforms

if TYPE_CHECKING:
    import numpy.typing as npt

    from engine.step import RowStart

MIN_TEMPERATURE = 1e-5
"""Below it a row is greedy, which is its limit: float32 holds no quotient by less than 1e-38."""

_MAX_TEMPERATURE = 1e30
_MIN_TOP_P = 1e-12
_SEEDS = 1 << 64


class Way(enum.IntEnum):
    """How a row's token is found; rows that go the same way go together."""

    GREEDY = 0
    PLAIN = 1  # random, among all
    MIN_P = 2  # by min-p and nothing else
    TOP_K = 3  # by a top-k below NUM_CANDIDATES, and maybe the rest
    TOP_P = 4  # by top-p and maybe min-p
    LARGE_TOP_K = 5


class RowSettings:
    """Persistent arrays by row, written when a sequence takes the row."""

    def __init__(self, num_rows: int, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._way = np.zeros(num_rows, np.int64)
        self._numbers = np.zeros((4, num_rows))  # what `Draws` has but the noise
        self._seed = np.zeros(num_rows, np.uint64)
        self._sample = np.zeros(num_rows, np.int64)
        self._num_logprobs = np.full(num_rows, -1)

    def start(self, start: RowStart) -> None:
        """A sequence takes the row `start.row`."""
        params, row = start.params, start.row
        top_k = params.top_k if 0 < params.top_k < self._vocab_size else 0
        top_p = max(params.top_p, _MIN_TOP_P) if params.top_p < 1 else math.inf
        min_p = math.log(min(params.min_p, 1.0)) if params.min_p > 0 else -math.inf
        if params.temperature < MIN_TEMPERATURE:
            way = Way.GREEDY
        elif top_k:
            way = Way.TOP_K if top_k < NUM_CANDIDATES else Way.LARGE_TOP_K
        elif top_p < 1:
            way = Way.TOP_P
        else:
            way = Way.PLAIN if min_p == -math.inf else Way.MIN_P
        temperature = min(max(params.temperature, MIN_TEMPERATURE), _MAX_TEMPERATURE)
        self._way[row] = way
        self._numbers[:, row] = temperature, top_k, top_p, min_p
        self._seed[row] = params.seed % _SEEDS
        self._sample[row] = start.sample
        self._num_logprobs[row] = -1 if params.num_logprobs is None else params.num_logprobs

    def ways(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The `Way` of each row."""
        return self._way[rows_B]

    def num_logprobs(self, rows_B: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many of the likeliest tokens each row wants to know; -1: not even its own."""
        return self._num_logprobs[rows_B]

    def draws(
        self, rows_B: npt.NDArray[np.int64], positions_B: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """The fields of `filters.Draws` in their order, [5, B]; no row is greedy."""
        temperature, top_k, top_p, min_p = self._numbers[:, rows_B]
        noise = uniforms(self._seed[rows_B], self._sample[rows_B], positions_B)
        return np.stack([temperature, noise, top_k, top_p, min_p])
