"""`Measured`: what happened to one request. All times are seconds from the begin of the run."""

from __future__ import annotations

import msgspec


class Measured(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request, good or failed.

    `due_s` <= `sent_s`: between the two it waited in the client for a place (`--max-concurrency`);
    in a closed loop they are equal. TTFT and E2E count from `due_s`: who asks for a rate wants to
    know what a visitor at that rate feels, also when the client holds requests back (coordinated
    omission). A later turn of a session is due when the answer before has come and was thought about.
    """

    session: int
    turn: int
    due_s: float
    sent_s: float
    end_s: float
    """The last byte, or the moment of the failure."""
    arrivals_s: list[float] = []
    """Of each event that brought text (reasoning and tool arguments are text too). Empty if the
    answer was not streamed or brought none."""
    first_answer_s: float | None = None
    """Of the first text that is not reasoning."""
    num_prompt_tokens: int | None = None
    """From `usage`, as are the next two; None if the server does not tell."""
    num_output_tokens: int | None = None
    num_cached_tokens: int | None = None
    num_asked_tokens: int = 0
    """Output tokens that were asked for."""
    finish_reason: str = ""
    error: str = ""
    """Empty, or its kind: "http 429", "timeout", "connection" (refused or lost), "stream" (an error
    event inside a stream), "cut" (a stream without its end), "protocol" (bytes that are no answer).
    A missing `usage` is no error."""
    detail: str = ""
    """What the server said of it, cut to 200 characters."""
    num_characters: int = 0
    """Of text in the answer."""
