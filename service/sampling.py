"""How an answer is drawn and where it ends: what all APIs that generate text ask for alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from service.errors import ValidationFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SamplingFields(Protocol):
    """The fields of a request, as all APIs name them; None is an absent one."""

    @property
    def temperature(self) -> float | None: ...
    @property
    def top_p(self) -> float | None: ...
    @property
    def top_k(self) -> int | None: ...
    @property
    def min_p(self) -> float | None: ...
    @property
    def presence_penalty(self) -> float | None: ...
    @property
    def frequency_penalty(self) -> float | None: ...
    @property
    def repetition_penalty(self) -> float | None: ...
    @property
    def logit_bias(self) -> Mapping[str, float] | None: ...
    @property
    def min_tokens(self) -> int | None: ...
    @property
    def ignore_eos(self) -> bool | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def stop_strings(self) -> tuple[str, ...]: ...
    @property
    def stop_token_ids(self) -> Sequence[int] | None: ...
    @property
    def skip_special_tokens(self) -> bool | None: ...
    @property
    def num_choices(self) -> int: ...
    @property
    def num_logprobs(self) -> int | None: ...


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """The same with what absent fields mean. Without `seed` one is drawn; without `num_logprobs`
    nobody asked for log-probabilities."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    skip_special_tokens: bool = True
    num_choices: int = 1
    num_logprobs: int | None = None

    @classmethod
    def of(cls, fields: SamplingFields) -> Sampling:
        """What a request asks for."""
        return cls(
            temperature=1.0 if fields.temperature is None else fields.temperature,
            top_p=1.0 if fields.top_p is None else fields.top_p,
            top_k=max(fields.top_k or 0, 0),
            min_p=fields.min_p or 0.0,
            presence_penalty=fields.presence_penalty or 0.0,
            frequency_penalty=fields.frequency_penalty or 0.0,
            repetition_penalty=fields.repetition_penalty or 1.0,
            logit_bias=tuple((int(key), bias) for key, bias in (fields.logit_bias or {}).items()),
            min_tokens=fields.min_tokens or 0,
            ignore_eos=bool(fields.ignore_eos),
            seed=fields.seed,
            stop=fields.stop_strings,
            stop_token_ids=tuple(fields.stop_token_ids or ()),
            skip_special_tokens=fields.skip_special_tokens is not False,
            num_choices=fields.num_choices,
            num_logprobs=fields.num_logprobs,
        )

    def check(self, vocab_size: int, max_model_len: int) -> None:
        """Check what needs the model.

        Raises:
            ValidationFault: a number of tokens is above the context, or an id is no token.
        """
        if self.min_tokens > max_model_len:
            raise ValidationFault(
                f"`min_tokens` is {self.min_tokens}, but this model's context holds "
                f"{max_model_len} tokens.",
                param="min_tokens",
            )
        for place, token_id in enumerate(self.stop_token_ids):
            if token_id >= vocab_size:
                raise ValidationFault(
                    f"`stop_token_ids` must be below the vocabulary's {vocab_size}.",
                    param=f"stop_token_ids[{place}]",
                )
        for token_id, _ in self.logit_bias:
            if token_id >= vocab_size:
                raise ValidationFault(
                    f"The keys of `logit_bias` must be below the vocabulary's {vocab_size}.",
                    param=f"logit_bias.{token_id}",
                )
