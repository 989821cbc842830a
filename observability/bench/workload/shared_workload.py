"""`shared:PREFIX+IN,OUT`: requests that begin alike, as those of one application do."""

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


class SharedWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions take turns with the groups; those of a group share its prefix.

    In a chat the prefix is a system message, in a completion the head of the text.
    """

    num_prefix: int
    num_prompt: TokenRange
    """After the prefix."""
    num_output: TokenRange
    num_groups: int = 1
    needs_maker: bool = True
    num_available: int | None = None
    usual_arrival: str = "closed"

    @classmethod
    def of(cls, words: str) -> SharedWorkload:
        """From `PREFIX+IN,OUT` or `PREFIX+IN,OUT,GROUPS`. Raises `WrongOption`."""
        parts = words.split(",")
        prefix, plus, prompt = parts[0].partition("+")
        try:
            num_prefix, num_groups = int(prefix), int(parts[2]) if len(parts) == 3 else 1
        except ValueError:
            num_prefix, num_groups = 0, 0
        if len(parts) not in (2, 3) or not plus or num_prefix < 1 or num_groups < 1:
            raise WrongOption(
                f"--workload shared:{words}: it is shared:PREFIX+IN,OUT or "
                "shared:PREFIX+IN,OUT,GROUPS, as shared:1024+64,64"
            )
        return cls(
            num_prefix=num_prefix,
            num_prompt=TokenRange.of(prompt),
            num_output=TokenRange.of(parts[1]),
            num_groups=num_groups,
        )

    def sessions(self, order: Order, maker: PromptMaker | None) -> list[Session]:
        generator = np.random.default_rng(order.seed)
        prefixes = need(maker).texts([self.num_prefix] * self.num_groups, generator)
        heads = [prefixes[index % self.num_groups] for index in range(order.num_sessions)]
        prompt_lengths = self.num_prompt.draw(order.num_sessions, generator)
        output_lengths = self.num_output.draw(order.num_sessions, generator)
        totals = [self.num_prefix + length for length in prompt_lengths]
        lengths = [order.text_length(length) for length in prompt_lengths]
        if order.endpoint == "chat":
            texts = need(maker).texts(lengths, generator)
        else:
            drafts = [
                head + need(maker).draft(length, generator, is_first=False)
                for head, length in zip(heads, lengths, strict=True)
            ]
            wholes = [self.num_prefix + length for length in lengths]
            texts = need(maker).fit(drafts, wholes, generator, heads)
        return [
            Session(
                index=index,
                turns=[
                    Turn(
                        text=text,
                        system=heads[index] if order.endpoint == "chat" else None,
                        num_prompt_tokens=totals[index],
                        num_output_tokens=output_lengths[index],
                    )
                ],
            )
            for index, text in enumerate(texts)
        ]
