"""The caller's trace, read from W3C headers, and the ids of our own server span.

Owns parsing and writing of `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context/).
Runs for every request, so it knows nothing of OpenTelemetry: ids are plain hexadecimal strings.
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

RandomBytes = Callable[[int], bytes]
"""Gives n random bytes; `secrets.token_bytes` in production, seeded in tests."""

_SAMPLED_FLAG: Final = 0x01
# Version 00 is exactly these 55 characters; a later version may append "-…" (W3C 3.2.4).
_TRACEPARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-.*)?",
    re.DOTALL,
)
_MAX_TRACEPARENT_LENGTH: Final = 256  # ours: nothing known is longer than 55

# A list member of tracestate (W3C 3.3.1.3): simple or tenant@system key, printable value.
_TRACESTATE_MEMBER: Final = re.compile(
    r"(?P<key>[a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_TRACESTATE_MEMBERS: Final = 32  # W3C 3.3.1.1
_MAX_TRACESTATE_LENGTH: Final = 4096  # W3C asks for at least 512; a hostile header ends here


class TraceContext(msgspec.Struct, frozen=True):
    """Where a request stands in its trace; every id is valid (right length, not all zero)."""

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 digits: our SERVER span, made before the span itself exists."""
    parent_span_id: str | None = None
    """16 digits: the caller's span, or None where the trace starts here."""
    sampled: bool | None = None
    """The caller's sampled flag; None where there is no caller."""
    tracestate: str = ""

    @classmethod
    def from_headers(
        cls, traceparent: str | None, tracestate: str | None, random: RandomBytes
    ) -> "TraceContext":
        """Join the caller's trace; an absent or invalid `traceparent` starts a new one.

        A header sent twice must arrive here joined by a comma, which makes it invalid, as it
        should be. `tracestate` means nothing without a valid `traceparent` and is then dropped.
        """
        parent = _parse_traceparent(traceparent) if traceparent is not None else None
        if parent is None:
            return cls(trace_id=_new_id(16, random), span_id=_new_id(8, random))
        trace_id, parent_span_id, flags = parent
        return cls(
            trace_id=trace_id,
            span_id=_new_id(8, random),
            parent_span_id=parent_span_id,
            sampled=bool(flags & _SAMPLED_FLAG),
            tracestate=_valid_tracestate(tracestate),
        )

    @property
    def traceparent(self) -> str:
        """The header for whoever we call: our span as the parent.

        A trace that starts here says "sampled": the choice is made after the end of the request,
        so "may be recorded" (W3C 3.2.2.5.1) is the truth.
        """
        flags = "00" if self.sampled is False else "01"
        return f"00-{self.trace_id}-{self.span_id}-{flags}"


def new_span_id(random: RandomBytes) -> str:
    """16 hexadecimal digits, never all zero."""
    return _new_id(8, random)


def _parse_traceparent(header: str) -> tuple[str, str, int] | None:
    if len(header) > _MAX_TRACEPARENT_LENGTH:
        return None
    match = _TRACEPARENT.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id = match["version"], match["trace"], match["span"]
    if version == "ff" or (version == "00" and match["rest"] is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return trace_id, span_id, int(match["flags"], 16)


def _valid_tracestate(header: str | None) -> str:
    """The list without blanks and empty members; one bad member voids all of it (W3C 3.3.1.3)."""
    if not header or len(header) > _MAX_TRACESTATE_LENGTH:
        return ""
    members: dict[str, str] = {}
    for part in header.split(","):
        member = part.strip(" \t")
        if not member:
            continue
        match = _TRACESTATE_MEMBER.fullmatch(member)
        if match is None or match["key"] in members:
            return ""
        members[match["key"]] = member
    if len(members) > _MAX_TRACESTATE_MEMBERS:
        return ""
    return ",".join(members.values())


def _new_id(num_bytes: int, random: RandomBytes) -> str:
    while True:
        drawn = random(num_bytes)
        if any(drawn):
            return drawn.hex()
