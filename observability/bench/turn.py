"""`Session`: what one visitor asks, turn by turn. Plain data, made before the clock starts."""

from __future__ import annotations

import msgspec


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. Exactly one of `text`, `token_ids` and `messages` is set.

    `text` is a prompt of the completions API or the content of a user's message; `messages` are
    sent as they are, with nothing before them. A turn after the first is preceded by the session's
    earlier turns and the answers that the server gave to them.
    """

    text: str | None = None
    token_ids: list[int] | None = None
    messages: list[dict[str, object]] | None = None
    system: str | None = None
    """A message before the first turn's text: what sessions share."""
    num_prompt_tokens: int | None = None
    """As the server counts them, if it was asked before; in a turn after the first only those of
    its own text; None if the maker does not know."""
    num_output_tokens: int = 128
    """Asked for: `max_tokens`, with an end token ignored where the server can."""


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Turns that follow each other: the next is sent when the answer before is whole."""

    index: int
    turns: list[Turn]
    due_s: float | None = None
    """When its first turn is to be sent, in seconds from the begin; None: as soon as a place is
    free (closed loop)."""
    think_s: float = 0.0
    """Between an answer and the next turn."""
