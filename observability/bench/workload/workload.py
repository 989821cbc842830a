"""`Workload`: what is asked, from the words of the command line. When it is asked: `arrival.py`.

Another workload is another file and a line in `select.workload_of`; nothing else knows which there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from observability.bench.errors import WrongOption
from observability.bench.plan import EndpointName

if TYPE_CHECKING:
    from observability.bench.turn import Session
    from observability.bench.workload.prompt_maker import PromptMaker


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
