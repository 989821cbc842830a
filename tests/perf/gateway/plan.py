"""Which cells are measured, in which order, how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.perf.gateway.cell import Cell, Kind, Server, Wiring
from tests.perf.gateway.measurement import Timing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FULL = Timing(warm_up_s=0.6, window_s=2.4)
QUICK = Timing(warm_up_s=0.3, window_s=1.0)

HEADLINE_ROUNDS = 5
_OTHER_ROUNDS = 3
_FEW_ROUNDS = 2

_RATES = {1: 200.0, 100: 10.0, 1000: 5.0}
"""Token events a second for one stream, by the number of streams. At 100 streams the slowest server
still keeps up on an ordinary core: an overloaded one would join events and look cheap."""

TOGETHER = 1
"""One frame for all streams: a batch that holds them all."""

APART = 100
"""Each of 100 streams by itself: what is slowest with a sender that looks at all streams."""

IN_PARTS = 20
"""A frame for each 50 of 1000 streams: a batch smaller than what is open."""

_HEADLINE: list[tuple[Server, Wiring, int]] = [
    ("kvorum", "h2c", 1),
    ("hypercorn", "h2c", 1),
    ("uvicorn", "http/1.1", 100),
    ("none", "none", 0),
]
_OURS_AND_STOCK: list[Server] = ["kvorum", "hypercorn"]
_OTHER_WIRINGS: list[tuple[Wiring, int]] = [("http/1.1", 100), ("h2 tls", 1)]
_THOUSAND: list[tuple[Server, Wiring, int]] = [
    ("kvorum", "h2c", 10),
    ("hypercorn", "h2c", 10),
    ("kvorum", "h2c", 1),
    ("kvorum", "http/1.1", 1000),
    ("hypercorn", "http/1.1", 1000),
    ("uvicorn", "http/1.1", 1000),
    ("kvorum", "h2 tls", 10),
    ("hypercorn", "h2 tls", 10),
]
_SINGLE: list[tuple[Server, Wiring]] = [
    ("kvorum", "h2c"),
    ("hypercorn", "h2c"),
    ("kvorum", "http/1.1"),
    ("hypercorn", "http/1.1"),
    ("uvicorn", "http/1.1"),
    ("kvorum", "h2 tls"),
    ("hypercorn", "h2 tls"),
]


def full_plan() -> list[Cell]:
    """Everything, the headline first."""
    return [
        *[
            _cpu(server, wiring, 100, num_connections, HEADLINE_ROUNDS, num_phases)
            for num_phases in (TOGETHER, APART)
            for server, wiring, num_connections in _HEADLINE
        ],
        _delay("kvorum", "h2c", 10, IN_PARTS, _OTHER_ROUNDS),
        _delay("kvorum", "h2c", 10, TOGETHER, _OTHER_ROUNDS),
        _memory("kvorum", "h2c", 10, _OTHER_ROUNDS),
        *[
            _cpu(server, wiring, 100, num_connections, _OTHER_ROUNDS)
            for wiring, num_connections in _OTHER_WIRINGS
            for server in _OURS_AND_STOCK
        ],
        *[
            _cpu(server, wiring, 1000, num_connections, _OTHER_ROUNDS, IN_PARTS)
            for server, wiring, num_connections in _THOUSAND
        ],
        _cpu("hypercorn", "h2c", 1000, 1, 1, IN_PARTS),  # refused as shipped: once is enough
        *[_cpu(server, wiring, 1, 1, _FEW_ROUNDS) for server, wiring in _SINGLE],
        _delay("hypercorn", "h2c", 10, IN_PARTS, _FEW_ROUNDS),
        _delay("kvorum", "http/1.1", 1000, IN_PARTS, _FEW_ROUNDS),
        _delay("uvicorn", "http/1.1", 1000, IN_PARTS, _FEW_ROUNDS),
        _memory("hypercorn", "h2c", 10, _FEW_ROUNDS),
        _memory("kvorum", "http/1.1", 1000, _FEW_ROUNDS),
        _memory("uvicorn", "http/1.1", 1000, _FEW_ROUNDS),
    ]


def quick_plan() -> list[Cell]:
    """Does everything work, on every server and protocol? One round each; not for publication."""
    return [
        *[
            _cpu(server, wiring, 100, num_connections, 1, num_phases)
            for num_phases in (TOGETHER, APART)
            for server, wiring, num_connections in _HEADLINE
        ],
        _cpu("kvorum", "h2 tls", 100, 1, 1),
        _cpu("hypercorn", "http/1.1", 100, 100, 1),
        _cpu("kvorum", "h2c", 1000, 1, 1, IN_PARTS),
        _delay("kvorum", "h2c", 10, IN_PARTS, 1),
        _delay("kvorum", "h2c", 10, TOGETHER, 1),
        _memory("kvorum", "h2c", 10, 1),
    ]


def in_order(cells: Sequence[Cell]) -> Iterator[tuple[int, Cell]]:
    """Round by round, every other one backwards: what drifts hits all servers alike."""
    for number in range(max(cell.rounds for cell in cells)):
        round_ = [cell for cell in cells if number < cell.rounds]
        headline = [cell for cell in round_ if cell.rounds == HEADLINE_ROUNDS]
        others = [cell for cell in round_ if cell.rounds != HEADLINE_ROUNDS]
        step = -1 if number % 2 else 1
        for cell in [*headline[::step], *others[::step]]:
            yield number, cell


def _cpu(
    server: Server,
    wiring: Wiring,
    num_streams: int,
    num_connections: int,
    rounds: int,
    num_phases: int = TOGETHER,
) -> Cell:
    rate = _RATES[num_streams]
    return _cell("cpu", server, wiring, num_streams, num_connections, rounds, rate, num_phases)


def _delay(
    server: Server, wiring: Wiring, num_connections: int, num_phases: int, rounds: int
) -> Cell:
    rate = _RATES[1000]
    return _cell("delay", server, wiring, 1000, num_connections, rounds, rate, num_phases)


def _memory(server: Server, wiring: Wiring, num_connections: int, rounds: int) -> Cell:
    return _cell("memory", server, wiring, 1000, num_connections, rounds)


def _cell(
    kind: Kind,
    server: Server,
    wiring: Wiring,
    num_streams: int,
    num_connections: int,
    rounds: int,
    rate: float = 0.0,
    num_phases: int = 1,
) -> Cell:
    return Cell(
        kind=kind,
        server=server,
        wiring=wiring,
        num_streams=num_streams,
        num_connections=num_connections,
        rate=rate,
        num_phases=num_phases,
        rounds=rounds,
    )
