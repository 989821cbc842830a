"""See a seed's history: `python -m tests.sim.replay [--crowd] SEED` prints all that happens in it."""

from __future__ import annotations

import argparse
import sys
import traceback

from tests.sim.failure import SimulationFailure
from tests.sim.history import NUM_STEPS, simulate, simulate_crowd


def main() -> int:
    """0: the seed is well; 1: a promise is broken, and the last lines say which."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.replay", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--crowd", action="store_true", help="the scheduler alone")
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    given = parser.parse_args()
    run = simulate_crowd if given.crowd else simulate
    try:
        court = run(given.seed, given.steps, print)
    except SimulationFailure as failure:
        traceback.print_exception(failure)
        return 1
    print(*(f"{count:8d} {what}" for what, count in sorted(court.seen.items())), sep="\n")
    print(f"seed {given.seed}: {court.num_steps} steps, all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
