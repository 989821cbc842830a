"""Ours beside Hypercorn as it comes, where a test fails with the one and passes with the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.service.http.harness import Site, serving, serving_shipped

Start = Callable[..., AbstractAsyncContextManager[Site]]

# Its connection ends, or the answer never comes; that it does not start would be an error.
STOCK = pytest.mark.xfail(strict=True, raises=(AssertionError, TimeoutError))
BOTH = pytest.mark.parametrize(
    "start",
    [
        pytest.param(serving, id="ours"),
        pytest.param(serving_shipped, id="shipped", marks=STOCK),
    ],
)
