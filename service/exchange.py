"""One HTTP exchange: what is known about a request while it is being answered.

The tracing middleware makes it, routes and other middleware add to it, and the middleware turns it
into a `RequestRecord` once the last byte is out. It holds no content of requests or answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from starlette.types import Scope

    from observability.record import GenerationRecord
    from observability.trace_context import TraceContext

SCOPE_KEY = "kvorum.exchange"


@dataclass(slots=True)
class Exchange:
    """Mutable and owned by one request; `start_ns` and `end_ns` are `time.monotonic_ns()`."""

    request_id: str
    """For people and logs: the caller's own id if it is sane. Never an engine's request id."""
    trace: TraceContext
    start_ns: int
    end_ns: int = 0
    """When the last byte was sent, or the handler gave up; 0 until then."""
    status_code: int | None = None
    """None until the status line is sent."""
    error_type: str | None = None
    """The code of the error that was answered, or that ended a stream."""
    generation: GenerationRecord | None = None
    client_left: bool = False
    ignored_fields: list[str] = field(default_factory=list)
    """Paths of what the client sent and what has no effect: told in the `warning` header."""

    @property
    def log_ids(self) -> dict[str, object]:
        """What every log line about this request carries."""
        return {"request_id": self.request_id, "trace_id": self.trace.trace_id}

    @classmethod
    def of(cls, scope: Scope) -> Exchange:
        """The exchange of an ASGI scope; `KeyError` outside the tracing middleware."""
        return cast("Exchange", scope[SCOPE_KEY])


def route_template(scope: Scope) -> str | None:
    """The matched route's template ("/v1/models/{model}"): safe as a label; None if none matched."""
    return getattr(scope.get("route"), "path_format", None)
