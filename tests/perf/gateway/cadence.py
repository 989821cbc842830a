"""What the load generator and the stub engine agree on: when tokens come and what they say.

A request carries its cadence in `seed`, the one field of the API that reaches the engine as a free
number; so one server process serves any cell, through the same application as everybody's.
"""

from __future__ import annotations

import re
import string

import msgspec

MARK = b"~"
"""Once in each token event and nowhere else in an answer: tokens are counted by counting it, also
if a server joins several events into one piece."""

_DIGITS = string.ascii_letters + string.digits + "-_"  # none of them is escaped in JSON
_VALUE_OF = {digit: value for value, digit in enumerate(_DIGITS.encode())}
_NUM_DIGITS = 4
_UNIT_NS = 10_000
_WRAP = len(_DIGITS) ** _NUM_DIGITS  # times 10 us: 168 s, more than any delay

_PHASE_BITS = 10

STAMP = re.compile(MARK + rb"([A-Za-z0-9_-]{%d})" % _NUM_DIGITS)
STAMP_BYTES = len(MARK) + _NUM_DIGITS


class Cadence(msgspec.Struct, frozen=True):
    """One token event each `period_us` for every request of the same cadence, in one frame.

    Phase p of n comes p/n of a period later. `period_us` 0 is no token at all: such a request waits
    in the queue. With `is_stamped` each event tells when it was due.
    """

    period_us: int
    is_stamped: bool = False
    num_phases: int = 1
    phase: int = 0

    def to_seed(self) -> int:
        """The number that a request carries."""
        phases = self.num_phases << _PHASE_BITS | self.phase
        return (self.period_us << 2 * _PHASE_BITS | phases) << 1 | self.is_stamped

    @classmethod
    def from_seed(cls, seed: int) -> Cadence:
        """The cadence that a request carries."""
        phases, is_stamped = seed >> 1, bool(seed & 1)
        mask = (1 << _PHASE_BITS) - 1
        num_phases = phases >> _PHASE_BITS & mask
        return cls(phases >> 2 * _PHASE_BITS, is_stamped, num_phases, phases & mask)


def stamp(time_ns: int) -> str:
    """The text of a token event that was due at `time_ns`."""
    units = time_ns // _UNIT_NS % _WRAP
    digits = []
    for _ in range(_NUM_DIGITS):
        units, value = divmod(units, len(_DIGITS))
        digits.append(_DIGITS[value])
    return MARK.decode() + "".join(reversed(digits))


def delay_ms(digits: bytes, arrival_ns: int) -> float:
    """How long before `arrival_ns` the event with these digits was due, to 0.01 ms."""
    units = 0
    for digit in digits:
        units = units * len(_DIGITS) + _VALUE_OF[digit]
    late: int = (arrival_ns // _UNIT_NS - units) % _WRAP
    if late > _WRAP // 2:  # two clocks of one machine, read at different moments
        late -= _WRAP
    return late * _UNIT_NS / 1e6
