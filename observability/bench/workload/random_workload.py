"""`random:IN,OUT`: sessions of one request whose texts share nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.errors import WrongOption
from observability.bench.turn import Session, Turn
from observability.bench.workload.token_range import TokenRange
from observability.bench.workload.workload import need

if TYPE_CHECKING:
    from observability.bench.workload.prompt_maker import PromptMaker
    from observability.bench.workload.workload import Order


class RandomWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """Lengths are fixed, or spread evenly."""

    num_prompt: TokenRange
    num_output: TokenRange
    needs_maker: bool = True
    num_available: int | None = None
    usual_arrival: str = "closed"

    @classmethod
    def of(cls, words: str) -> RandomWorkload:
        """From `IN,OUT`. Raises `WrongOption`."""
        parts = words.split(",")
        if len(parts) != 2:
            raise WrongOption(f"--workload random:{words}: it is random:IN,OUT, as random:512,128")
        return cls(num_prompt=TokenRange.of(parts[0]), num_output=TokenRange.of(parts[1]))

    def sessions(self, order: Order, maker: PromptMaker | None) -> list[Session]:
        generator = np.random.default_rng(order.seed)
        prompt_lengths = self.num_prompt.draw(order.num_sessions, generator)
        output_lengths = self.num_output.draw(order.num_sessions, generator)
        lengths = [order.text_length(length) for length in prompt_lengths]
        texts = need(maker).texts(lengths, generator)
        return [
            Session(
                index=index,
                turns=[Turn(text=text, num_prompt_tokens=num_prompt, num_output_tokens=num_output)],
            )
            for index, (text, num_prompt, num_output) in enumerate(
                zip(texts, prompt_lengths, output_lengths, strict=True)
            )
        ]
