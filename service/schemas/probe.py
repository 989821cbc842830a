"""What `/health/live` and `/health/ready` answer."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """For probes."""

    status: Literal["ok", "unavailable"]
    reason: str | UnsetType = UNSET
    """Why no requests are taken."""
