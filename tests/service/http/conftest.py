"""What all of these run on."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Hypercorn's transports are asyncio's."""
    return "asyncio"
