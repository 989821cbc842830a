"""`Request`: what a client asked for, and the samples that answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.prefix_index import salted_root
from engine.protocol import RequestTimings
from engine.sequence import Sequence

if TYPE_CHECKING:
    from engine.protocol import Submit, TokenLogprobs


class Request:
    """One request and the facts that are told of it as a whole.

    It has a sequence for each sample: the first from the beginning, the others from the moment at
    which the prompt is computed and they fork from it. It is over when none is left.
    """

    __slots__ = (
        "deadline_ns",
        "first_token_ns",
        "is_announced",
        "last_token_ns",
        "num_cached_tokens",
        "num_decode_steps",
        "num_output_tokens",
        "num_preemptions",
        "num_prefill_chunks",
        "num_prompt_tokens",
        "number",
        "prefill_start_ns",
        "priority",
        "prompt_logprobs",
        "queues",
        "request_id",
        "sequences",
        "tenant",
        "unborn_samples",
    )

    def __init__(self, submit: Submit, number: int, max_model_len: int, model: str) -> None:
        """`number` counts arrivals; `model` salts the prefix cache, with tenant and salt."""
        token_ids = submit.prompt_token_ids
        self.request_id: str = submit.request_id
        self.tenant: str = submit.tenant
        self.priority: int = submit.priority
        self.deadline_ns: int = submit.deadline_ns
        self.number = number
        self.num_prompt_tokens = len(token_ids)
        self.num_cached_tokens = 0
        self.prompt_logprobs: list[TokenLogprobs] = []
        self.is_announced = False
        self.num_output_tokens = 0
        self.queues: list[tuple[int, int]] = []
        self.prefill_start_ns = 0
        self.first_token_ns = 0
        self.last_token_ns = 0
        self.num_prefill_chunks = 0
        self.num_decode_steps = 0
        self.num_preemptions = 0
        root = salted_root(model, submit.tenant, submit.cache_salt)
        max_len = min(self.num_prompt_tokens + submit.params.max_tokens, max_model_len)
        first = Sequence(self, 0, number, token_ids, submit.params, max_len, root)
        first.queued_ns = submit.arrived_ns
        self.sequences = [first]
        """Those that have not ended."""
        self.unborn_samples = list(range(1, submit.num_samples))
        """Those that have not begun: they fork when the prompt is computed."""

    @property
    def wants_prompt_logprobs(self) -> bool:
        """They have been asked for and have not been given yet."""
        params = self.sequences[0].params
        return params.num_prompt_logprobs is not None and not self.is_announced

    def timings(self) -> RequestTimings:
        return RequestTimings(
            queues=tuple(self.queues),
            prefill_start_ns=self.prefill_start_ns,
            first_token_ns=self.first_token_ns,
            last_token_ns=self.last_token_ns,
            num_prefill_chunks=self.num_prefill_chunks,
            num_decode_steps=self.num_decode_steps,
            num_preemptions=self.num_preemptions,
        )
