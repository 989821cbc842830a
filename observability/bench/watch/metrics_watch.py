"""`MetricsWatch`: reads a server's `/metrics` once a second beside the load."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from observability.bench.ask import ask
from observability.bench.errors import CannotAsk
from observability.bench.watch.metrics_text import series_of

if TYPE_CHECKING:
    from observability.bench.watch.watch_log import WatchLog

_TIMEOUT_S = 5.0
_PATH = "/metrics"
_OK = 200
_NEVER = frozenset({401, 403, 404, 405, 501})
"""Answers that mean: do not ask again."""


class MetricsWatch:
    """One question at a time, so that a slow server is not asked more than it can answer.

    `trouble` says why nothing was seen, "" once something was: a server without metrics is no
    error.
    """

    def __init__(
        self,
        url: str,
        log: WatchLog,
        *,
        api_key: str | None = None,
        is_insecure: bool = False,
        period_s: float = 1.0,
    ) -> None:
        self._log = log
        self._period_s = period_s
        self._ask = partial(
            ask, url, _PATH, api_key=api_key, is_insecure=is_insecure, timeout_s=_TIMEOUT_S
        )
        self._has_seen = False
        self._is_over = False
        self.trouble = ""

    async def watch(self) -> None:
        """Until it is cancelled, or the server turns out to have none.

        Begin it before the load; for what the load has left, `read` once more after it.
        """
        while not self._is_over:
            asked_s = time.monotonic()
            await self.read()
            await anyio.sleep(max(0.0, asked_s + self._period_s - time.monotonic()))

    async def read(self) -> None:
        """Once."""
        if self._is_over:
            return
        asked_ns = time.monotonic_ns()
        try:
            status, values = await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)
        except CannotAsk as error:
            self._tell(str(error))
            return
        except ValueError as error:
            self._tell(f"{_PATH} {error}")
            return
        if status != _OK:
            self._is_over = not self._has_seen and status in _NEVER
            self._tell(f"{_PATH} answers with status {status}")
        elif not values:
            self._tell(f"{_PATH} has no series of a server that is known")
        else:
            self._has_seen, self.trouble = True, ""
            self._log.add(values, (asked_ns + time.monotonic_ns()) // 2)

    def _look(self) -> tuple[int, dict[str, float]]:
        status, body = self._ask()
        return status, series_of(body.decode("utf-8", "replace")) if status == _OK else {}

    def _tell(self, trouble: str) -> None:
        if not self._has_seen:
            self.trouble = trouble
