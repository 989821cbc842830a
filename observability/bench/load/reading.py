"""`Reading`: one answer as it comes, event by event, with the times of its texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from observability.bench.load.connection import RequestFailed
from observability.bench.load.endpoint import Usage

if TYPE_CHECKING:
    from observability.bench.load.endpoint import Endpoint
    from observability.bench.load.tally import Tally

_DONE = b"[DONE]"
_MAX_SHOWN = 200


@dataclass(slots=True)
class Reading:
    """Times are of `time.monotonic`. It is kept when the request fails in the middle."""

    endpoint: Endpoint
    tally: Tally
    arrivals_s: list[float] = field(default_factory=list)
    first_answer_s: float | None = None
    last_s: float | None = None
    """When the last bytes came, up to the event that says it is done."""
    texts: list[str] = field(default_factory=list)
    num_characters: int = 0
    finish_reason: str = ""
    usage: Usage = Usage(None, None, None)  # noqa: RUF009 - it is frozen
    is_done: bool = False

    def take(self, at_s: float, payload: bytes) -> None:
        """One event. Raises `RequestFailed`."""
        # Once a token: what is not needed for a time or a length waits for the end.
        if payload == _DONE:
            self.is_done = True
            return
        try:
            piece = self.endpoint.read(payload)
        except msgspec.DecodeError as error:
            raise RequestFailed("protocol", f"{error}: {shown(payload)}") from None
        if piece.error:
            raise RequestFailed("stream", piece.error)
        answer = piece.text or piece.arguments
        if answer or piece.reasoning:
            self.arrivals_s.append(at_s)
            self.tally.num_events += 1
            if answer and self.first_answer_s is None:
                self.first_answer_s = at_s
            self.num_characters += len(piece.text) + len(piece.arguments) + len(piece.reasoning)
            if piece.text:
                self.texts.append(piece.text)
        if piece.finish_reason:
            self.finish_reason = piece.finish_reason
        if piece.usage is not None:
            self.usage = piece.usage

    def take_whole(self, payload: bytes) -> None:
        """An answer that was not streamed: it has no times. Raises `RequestFailed`."""
        self.take(0.0, payload)
        self.tally.num_events -= len(self.arrivals_s)
        self.arrivals_s.clear()
        self.first_answer_s = None
        self.is_done = True


def shown(data: bytes) -> str:
    """As much as a result keeps."""
    return data[:_MAX_SHOWN].decode(errors="replace")
