"""`Workload`: what is asked, from the words of the command line. When it is asked: `arrival.py`.

Another workload is another file and a line in `workload_of`; nothing else knows which there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from observability.bench.errors import WrongOption
from observability.bench.plan import EndpointName

if TYPE_CHECKING:
    from collections.abc import Callable

    from observability.bench.prompt_maker import PromptMaker
    from observability.bench.turn import Session

POSSIBLE = (
    "W1, W2, W3, W4, random:IN,OUT, shared:PREFIX+IN,OUT[,GROUPS], turns:NxIN,OUT, jsonl:FILE, "
    "trace:FILE[,scale=N] (IN and OUT in tokens; 512~0.3 is 30 % around 512)"
)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions of a workload are wanted, and for which route."""

    num_sessions: int
    endpoint: EndpointName = "chat"
    seed: int = 0
    """The same seed gives the same sessions. Another gives texts that share nothing with them,
    save where the texts are the user's own: warm-up takes another, so that it warms no cache."""
    num_extra_tokens: int = 0
    """That the server's chat template adds: made texts are shorter by so many."""

    def text_length(self, num_prompt: int) -> int:
        """Tokens of the text that makes a prompt of this many; at least one."""
        return max(1, num_prompt - self.num_extra_tokens)


class Workload(Protocol):
    """Makes sessions."""

    @property
    def needs_maker(self) -> bool:
        """Whether texts have to be made, for which tokens must be counted."""
        ...

    @property
    def num_available(self) -> int | None:
        """Sessions that there are; None if as many as anybody wants."""
        ...

    @property
    def usual_arrival(self) -> str:
        """Words for `arrival_of`, if the user has none."""
        ...

    def sessions(self, order: Order, maker: PromptMaker | None) -> list[Session]:
        """Sessions with the indices from 0 on, and their own times if the workload has such.

        Raises `WrongOption` if that cannot be had of it, and what the maker does. There must be a
        maker if one is needed.
        """
        ...


def workload_of(words: str) -> Workload:
    """Not of a named workload: that gives words for this. Files are read here.

    Raises `WrongOption` with what is possible, or with the file and line that are wrong.
    """
    # Imported here: each of them knows this module.
    from observability.bench.jsonl_workload import JsonlWorkload
    from observability.bench.random_workload import RandomWorkload
    from observability.bench.shared_workload import SharedWorkload
    from observability.bench.trace_workload import TraceWorkload
    from observability.bench.turns_workload import TurnsWorkload

    name, colon, rest = words.strip().partition(":")
    forms: dict[str, Callable[[str], Workload]] = {
        "random": RandomWorkload.of,
        "shared": SharedWorkload.of,
        "turns": TurnsWorkload.of,
        "jsonl": JsonlWorkload.of,
        "trace": TraceWorkload.of,
    }
    form = forms.get(name.lower())
    if form is None or not colon or not rest:
        raise WrongOption(f"there is no --workload {words!r}; possible are {POSSIBLE}")
    return form(rest)


def need(maker: PromptMaker | None) -> PromptMaker:
    """The maker, which must be there."""
    assert maker is not None
    return maker


def check_available(order: Order, num_available: int, what: str) -> None:
    """Raises `WrongOption` if more sessions are wanted than there are."""
    if order.num_sessions > num_available:
        raise WrongOption(
            f"{what} holds {num_available} requests and {order.num_sessions} are wanted; ask for "
            f"no more with --requests {num_available}"
        )
