"""Permutation tests over runs: how often chance alone would part two sides as much as they are.

Each figure of a comparison gets a p-value that is adjusted for the number of figures by the
step-down of Westfall & Young ("Resampling-Based Multiple Testing", 1993): all figures are shuffled
together, so that figures which say the same do not cost twice, and the smallest p-value stays what
the number of splits allows (5 runs against 5: 252 splits, 0.0079; 4 against 4: 0.029). With Holm 4
against 4 could never show anything about more than one figure.
"""

from __future__ import annotations

import math
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from observability.bench.figures.interval import Floats

MIN_RUNS = 4
"""On each side, for the smallest p-value to be below 0.05."""
MIN_PAIRS = 6
"""For the same with pairs: 2 / 2**6 = 0.031."""
_MAX_EXACT = 20_000
_SEED = 20261201
_TOLERANCE = 1e-9


def split_p_values(a: Floats, b: Floats) -> Floats:
    """Of each column, two-sided. Rows are runs, columns are figures, all finite.

    The statistic is the difference of the means by the standard deviation of all runs together,
    which orders splits as Student's t does. All splits are counted if there are at most 20 000,
    else so many of them are drawn, with one added for the real one (Phipson & Smyth 2010).
    """
    together = np.concatenate((a, b))
    num, num_a = len(together), len(a)
    signs = np.full((_num_splits(num, num_a), num), 1.0 / (num - num_a))
    if math.comb(num, num_a) <= _MAX_EXACT:
        chosen = np.array(list(combinations(range(num), num_a)))
    else:
        random = np.random.default_rng(_SEED)
        chosen = np.argsort(random.random(signs.shape), axis=1)[:, :num_a]
        chosen[0] = np.arange(num_a)
    np.put_along_axis(signs, chosen, -1.0 / num_a, axis=1)
    return _adjusted(np.abs(signs @ _standardised(together - together.mean(axis=0))))


def pair_p_values(differences: Floats) -> Floats:
    """Of each column: whether pairs differ, by turning the signs of some. Rows are pairs."""
    num = len(differences)
    if 2**num <= _MAX_EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=num)))
    else:
        signs = np.random.default_rng(_SEED).choice((1.0, -1.0), (_MAX_EXACT, num))
        signs[0] = 1.0
    return _adjusted(np.abs(signs @ _standardised(differences)))


def _num_splits(num: int, num_a: int) -> int:
    return min(math.comb(num, num_a), _MAX_EXACT)


def _standardised(columns: Floats) -> Floats:
    """To a common scale that no permutation changes. A column without differences stays 0."""
    scale = np.sqrt((columns**2).mean(axis=0))
    return columns / np.where(scale > 0, scale, 1.0)


def _adjusted(statistics: Floats) -> Floats:
    """Rows are permutations, the first the real one. Figures whose real one is largest come first;
    each is held against the largest of itself and those after it."""
    order = np.argsort(-statistics[0], kind="stable")
    ordered = statistics[:, order]
    largest = np.maximum.accumulate(ordered[:, ::-1], axis=1)[:, ::-1]
    stepped = np.maximum.accumulate((largest >= ordered[0] - _TOLERANCE).mean(axis=0))
    p_values = np.empty_like(stepped)
    p_values[order] = stepped
    return p_values
