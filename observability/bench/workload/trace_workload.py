"""`trace:FILE`: what a real service was asked: its times, its lengths, and what was the same.

The texts are made. Blocks of 512 tokens that the trace calls equal are equal text, so what a
server can find in its prefix cache is what the real one could.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from observability.bench.errors import WrongOption
from observability.bench.turn import Session, Turn
from observability.bench.workload.trace import NS_PER_S, TRACE_BLOCK_TOKENS, Trace, read_trace
from observability.bench.workload.workload import check_available, need

if TYPE_CHECKING:
    from observability.bench.workload.prompt_maker import PromptMaker
    from observability.bench.workload.trace import TraceRequest
    from observability.bench.workload.workload import Order

_FORM = "trace:FILE or trace:FILE,scale=N, N a power of two up to 512"


class TraceWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """The first requests of a trace, in order of arrival; the first is due at 0.

    With a scale lengths are so many times shorter, times are as they were.
    """

    path: Path
    trace: Trace
    needs_maker: bool = True
    usual_arrival: str = "trace"

    @property
    def num_available(self) -> int | None:
        return len(self.trace.requests)

    @classmethod
    def of(cls, words: str) -> TraceWorkload:
        """From `FILE` or `FILE,scale=N`. Raises `WrongOption`."""
        file, is_scaled, scale_text = words.partition(",scale=")
        try:
            scale = int(scale_text) if is_scaled else 1
        except ValueError:
            scale = 0
        if scale < 1 or TRACE_BLOCK_TOKENS % scale:
            raise WrongOption(f"--workload trace:{words}: it is {_FORM}")
        path = Path(file).expanduser()
        trace = read_trace(path)
        return cls(path=path, trace=trace.scaled(scale) if scale > 1 else trace)

    def sessions(self, order: Order, maker: PromptMaker | None) -> list[Session]:
        check_available(order, len(self.trace.requests), str(self.path))
        requests = self.trace.requests[: order.num_sessions]
        texts = self._texts(requests, order, need(maker))
        begin_ns = requests[0].arrived_ns if requests else 0
        return [
            Session(
                index=index,
                turns=[
                    Turn(
                        text=text,
                        num_prompt_tokens=max(1, request.num_prompt_tokens),
                        num_output_tokens=request.num_output_tokens,
                    )
                ],
                due_s=(request.arrived_ns - begin_ns) / NS_PER_S,
            )
            for index, (request, text) in enumerate(zip(requests, texts, strict=True))
        ]

    def _texts(self, requests: list[TraceRequest], order: Order, maker: PromptMaker) -> list[str]:
        heads, drafts, lengths = [], [], []
        for request in requests:
            length = order.text_length(request.num_prompt_tokens)
            head, draft = self._draft(request, length, order.seed, maker)
            heads.append(head)
            drafts.append(draft)
            lengths.append(length)
        return maker.fit(drafts, lengths, np.random.default_rng(order.seed), heads)

    def _draft(
        self, request: TraceRequest, num_tokens: int, seed: int, maker: PromptMaker
    ) -> tuple[str, str]:
        """All blocks but the last, and all blocks."""
        head, text, left = "", "", num_tokens
        for block_id in request.block_ids or (0,):
            if left <= 0:
                break
            head = text
            text += maker.draft(
                min(left, self.trace.block_tokens),
                np.random.default_rng([seed, abs(block_id), block_id < 0]),
                num_drawn=self.trace.block_tokens,
                is_first=not head,
            )
            left -= self.trace.block_tokens
        return head, text
