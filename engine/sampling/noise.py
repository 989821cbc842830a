"""Counter-based randomness: a number depends on its key alone, never on what was drawn before.

So a request draws the same tokens whatever shares its batch, after a preemption, and with or
without speculation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def _mix(value: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each bit reaches each other."""
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def uniform(seed: int, sample: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits, keyed by request seed, sample and position.

    `seed` is taken modulo 2^64; `sample` tells the answers to one request apart.
    """
    state = _mix((seed + _GOLDEN) & _MASK)
    state = _mix((state + sample * _GOLDEN + _GOLDEN) & _MASK)
    state = _mix((state + position * _GOLDEN + _GOLDEN) & _MASK)
    return float(state >> 11) * 2.0**-53


def uniforms(
    seeds_B: npt.NDArray[np.uint64],
    samples_B: npt.NDArray[np.int64],
    positions_B: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """`uniform` of each key, bit by bit the same. uint64 seeds: already modulo 2^64."""
    golden = np.uint64(_GOLDEN)
    state_B = _mix_array(seeds_B + golden)
    state_B = _mix_array(state_B + samples_B.astype(np.uint64) * golden + golden)
    state_B = _mix_array(state_B + positions_B.astype(np.uint64) * golden + golden)
    return (state_B >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix_array(value_B: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`_mix` of each; arrays of uint64 wrap around silently."""
    value_B = (value_B ^ (value_B >> np.uint64(30))) * np.uint64(_FIRST)
    value_B = (value_B ^ (value_B >> np.uint64(27))) * np.uint64(_SECOND)
    return value_B ^ (value_B >> np.uint64(31))
