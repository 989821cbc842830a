"""`DynamicQueue`: turns for tenants, short prompts first, and nobody is passed over for ever."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, islice
from typing import TYPE_CHECKING

from engine.policies.sorted_queue import SortedQueue, by_arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.sequence import Sequence

MAX_OVERTAKEN = 32
"""So often the oldest of all may be passed over. Whoever finds p sequences before it starts after
at most (MAX_OVERTAKEN + 1) * (p + 1) starts, its own included: each one before it is the oldest for
at most MAX_OVERTAKEN + 1 of them, and then it is itself. To the p belong those that come later and
are yet older: samples that have not forked, and whoever is preempted meanwhile, who counts twice."""

OUTPUT_WEIGHT = 2
"""An output token costs as much as so many prompt tokens: it has a step of its own."""

_MAX_COMPARED = 8
"""Of a tenant's sequences so many of the oldest are compared: each comparison looks into the cache."""


class DynamicQueue:
    """A `WaitingQueue` that is fair to tenants and quick to short prompts.

    The tenant that has been served least is next, counted in tokens (the virtual token counter of
    Sheng et al., "Fairness in serving large language models", OSDI 2024: a tenant that comes back
    is lifted to the least of those that wait, or to the last that started, so that it saves no
    credit). Of its oldest sequences
    the one with the least left to compute is first, what the prefix cache holds not counted.
    """

    def __init__(self, num_uncached_tokens: Callable[[Sequence], int]) -> None:
        """`num_uncached_tokens` tells what would have to be computed if a sequence started now."""
        self._num_uncached_tokens = num_uncached_tokens
        self._all = SortedQueue(by_arrival)
        self._of_tenant: dict[str, SortedQueue] = {}
        self._served: defaultdict[str, int] = defaultdict(int)
        self._running: dict[Sequence, int] = {}
        """How many tokens each had when it started: what it has drawn since is not in `_served` yet."""
        self._num_overtaken = 0
        self._level = 0
        """How much the tenant that started last had been served before."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def head(self) -> Sequence | None:
        return self._all.head

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._all)

    def add(self, sequence: Sequence) -> None:
        tenant = sequence.request.tenant
        if tenant not in self._of_tenant:
            least = min((self._served[t] for t in self._of_tenant), default=self._level)
            self._served[tenant] = max(self._served[tenant], least)
            self._of_tenant[tenant] = SortedQueue(by_arrival)
        self._of_tenant[tenant].add(sequence)
        self._all.add(sequence)
        if self._all.head is sequence:
            self._num_overtaken = 0

    def remove(self, sequence: Sequence, *, starts: bool) -> None:
        tenant = sequence.request.tenant
        is_oldest = self._all.head is sequence
        self._all.remove(sequence, starts=starts)
        queue = self._of_tenant[tenant]
        queue.remove(sequence, starts=starts)
        if not queue:
            del self._of_tenant[tenant]
        if is_oldest:
            self._num_overtaken = 0
        elif starts:
            self._num_overtaken += 1
        if starts:
            self._level = self._served[tenant]
            self._served[tenant] += self._num_uncached_tokens(sequence)
            self._forget_idle_tenants()

    def candidates(self) -> Iterator[Sequence]:
        if self._num_overtaken >= MAX_OVERTAKEN:
            return islice(self._all.candidates(), 1)
        served = {tenant: self._served[tenant] for tenant in self._of_tenant}
        for sequence, num_tokens in self._running.items():
            if sequence.request.tenant in served:
                served[sequence.request.tenant] += _output_cost(sequence, num_tokens)
        tenants = sorted(served, key=lambda tenant: (served[tenant], tenant))
        return chain.from_iterable(self._shortest_first(tenant) for tenant in tenants)

    def started(self, sequence: Sequence) -> None:
        self._running[sequence] = sequence.num_tokens

    def stopped(self, sequence: Sequence) -> None:
        tenant = sequence.request.tenant
        self._served[tenant] += _output_cost(sequence, self._running.pop(sequence))

    def _shortest_first(self, tenant: str) -> list[Sequence]:
        oldest = islice(self._of_tenant[tenant].candidates(), _MAX_COMPARED)
        return sorted(oldest, key=lambda s: (self._num_uncached_tokens(s), *by_arrival(s)))

    def _forget_idle_tenants(self) -> None:
        """They come and go for ever; whoever comes again is lifted to the others."""
        if len(self._served) > len(self._of_tenant) + len(self._running) + 1000:
            busy = {*self._of_tenant, *(s.request.tenant for s in self._running)}
            self._served = defaultdict(int, {t: n for t, n in self._served.items() if t in busy})


def _output_cost(sequence: Sequence, num_tokens_before: int) -> int:
    return (sequence.num_tokens - num_tokens_before) * OUTPUT_WEIGHT
