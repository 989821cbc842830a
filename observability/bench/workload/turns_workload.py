"""`turns:NxIN,OUT`: conversations, whose every turn carries all that was said before."""

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


class TurnsWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """Each turn has a new text. What it carries besides depends on the answers."""

    num_turns: int
    num_prompt: TokenRange
    """Of a turn, without what was said before."""
    num_output: TokenRange
    needs_maker: bool = True
    num_available: int | None = None
    usual_arrival: str = "closed"

    @classmethod
    def of(cls, words: str) -> TurnsWorkload:
        """From `NxIN,OUT`. Raises `WrongOption`."""
        parts = words.split(",")
        num, cross, prompt = parts[0].lower().partition("x")
        if len(parts) != 2 or not cross or not num.strip().isdecimal() or int(num) < 1:
            raise WrongOption(f"--workload turns:{words}: it is turns:NxIN,OUT, as turns:4x128,64")
        return cls(
            num_turns=int(num),
            num_prompt=TokenRange.of(prompt),
            num_output=TokenRange.of(parts[1]),
        )

    def sessions(self, order: Order, maker: PromptMaker | None) -> list[Session]:
        generator = np.random.default_rng(order.seed)
        num_texts = order.num_sessions * self.num_turns
        prompt_lengths = self.num_prompt.draw(num_texts, generator)
        output_lengths = self.num_output.draw(num_texts, generator)
        texts = need(maker).texts(prompt_lengths, generator)
        turns = [
            Turn(text=text, num_prompt_tokens=num_prompt, num_output_tokens=num_output)
            for text, num_prompt, num_output in zip(
                texts, prompt_lengths, output_lengths, strict=True
            )
        ]
        return [
            Session(index=index, turns=turns[index * self.num_turns :][: self.num_turns])
            for index in range(order.num_sessions)
        ]
