"""Counts token events in bytes as they arrive, and notes how late stamped ones are."""

from __future__ import annotations

from tests.perf.gateway.cadence import MARK, STAMP, STAMP_BYTES, delay_ms


class TokenMeter:
    """One for all streams of a load; cheap, because its process shares the machine.

    Stamps are only collected while they arrive and are read afterwards.
    """

    def __init__(self, *, is_stamped: bool) -> None:
        self.num_tokens = 0
        self.begun: set[object] = set()
        """The streams that have got a token."""
        self._is_stamped = is_stamped
        self._tails: dict[object, bytes] = {}
        self._arrivals: list[tuple[int, list[bytes]]] = []

    def take(self, stream: object, payload: bytes, arrival_ns: int) -> None:
        """The next bytes of a stream; they may end in the middle of anything."""
        if self._is_stamped:
            stamps = STAMP.findall(self._whole_stamps(stream, payload))
            num_tokens = len(stamps)
            if stamps:
                self._arrivals.append((arrival_ns, stamps))
        else:
            num_tokens = payload.count(MARK)
        if num_tokens:
            self.num_tokens += num_tokens
            self.begun.add(stream)

    def forget_delays(self) -> None:
        """What follows is what counts."""
        self._arrivals.clear()

    def delays_ms(self) -> list[float]:
        """For each stamped event since then: from the moment it was due to its arrival."""
        return [delay_ms(one, at_ns) for at_ns, stamps in self._arrivals for one in stamps]

    def _whole_stamps(self, stream: object, payload: bytes) -> bytes:
        """With the stamp that the last piece began; without the one that this piece begins."""
        payload = self._tails.pop(stream, b"") + payload
        start = payload.rfind(MARK)
        if start >= 0 and len(payload) - start < STAMP_BYTES:
            self._tails[stream] = payload[start:]
            return payload[:start]
        return payload
