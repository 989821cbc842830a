"""Counter-based randomness: a number depends on its key alone, never on what was drawn before.

So a request draws the same tokens whatever shares its batch, after a preemption, and with or
without speculation.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(value: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each bit reaches each other."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def uniform(seed: int, sample: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits, keyed by request seed, sample and position.

    `seed` is taken modulo 2^64; `sample` tells the answers to one request apart.
    """
    state = _mix((seed + _GOLDEN) & _MASK)
    state = _mix((state + sample * _GOLDEN + _GOLDEN) & _MASK)
    state = _mix((state + position * _GOLDEN + _GOLDEN) & _MASK)
    return float(state >> 11) * 2.0**-53
