"""How telemetry itself fares."""

import msgspec


class SpanCounts(msgspec.Struct, frozen=True):
    """Spans since start; recorded = exported + dropped + those still in flight."""

    recorded: int = 0
    exported: int = 0
    """Taken by every exporter."""
    dropped: int = 0
    """Lost to a full queue, a failed export or a shutdown that ran out of time."""
