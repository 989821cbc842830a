"""`Run`: one measurement with everything that its figures are computed from."""

from __future__ import annotations

import msgspec

from observability.bench.measured import Measured
from observability.bench.plan import Plan


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the client ran on; the server too, if its address is this machine's."""

    cpu: str
    num_cores: int
    """That the process may use."""
    memory_gb: float
    system: str
    python: str
    gpus: list[str] = []


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One value seen beside the load."""

    at_s: float
    """From the begin of the run; below 0 it is before, above the duration after it."""
    name: str
    """A metric of the server with its labels as Prometheus writes them, or ours: "gpu0.utilization",
    "gpu0.memory_bytes", "gpu0.power_w". A utilization is a share from 0 to 1."""
    value: float


class Lateness(msgspec.Struct, frozen=True, kw_only=True):
    """How far the client itself may have spoilt the figures: each of the worker that has the worst."""

    loop_p99_ms: float = 0.0
    """How late a timer of the workers' event loops fired."""
    loop_max_ms: float = 0.0
    send_p99_ms: float = 0.0
    """How late requests were sent after they were due and had a place."""
    cpu_share: float = 0.0
    """Of the busiest worker, over the whole run: 1 is a core."""

    @property
    def is_trustworthy(self) -> bool:
        """False if the client was too busy to measure."""
        return self.cpu_share <= 0.8 and self.loop_p99_ms <= 10.0 and self.send_p99_ms <= 10.0


class Run(msgspec.Struct, kw_only=True):
    """One measurement. `id` is short, unique and sorts by time: 20261201-014500-3fa9."""

    id: str
    label: str = ""
    """Runs of one label are repeats of one thing: what `compare` takes together."""
    begun_at: str
    """ISO 8601, UTC."""
    plan: Plan
    duration_s: float
    """From the begin to the end of the last request; warm-up is before it."""
    results: list[Measured]
    samples: list[Sample] = []
    lateness: Lateness = Lateness()
    machine: Machine
    versions: dict[str, str] = {}
    """Of the client "kvorum" and "commit"; "server": what it says of itself."""
