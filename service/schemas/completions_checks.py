"""From a body to a completion request that can be answered, beyond the types and bounds of fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.body import decode
from service.errors import NotSupported, ValidationFault
from service.schemas.completions import CompletionRequest
from service.schemas.sampling_checks import (
    check_biases,
    check_counts,
    check_stream_options,
    stop_counts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.request_limits import RequestLimits

MAX_PROMPTS: Final = 64
"""Each is a generation of its own."""


def parse_completion(body: bytes, limits: RequestLimits) -> CompletionRequest:
    """The request in a JSON body.

    Raises:
        BadRequest: it is not JSON.
        ValidationFault: a field is wrong, or several do not go together.
        NotSupported: a field asks for what is not built.
    """
    request = decode(body, CompletionRequest)
    _check_support(request)
    _check_prompt(request)
    check_counts(_counts(request, limits))
    _check_combinations(request)
    return request


def _check_support(request: CompletionRequest) -> None:
    if request.suffix:  # an empty one asks for nothing
        raise NotSupported("`suffix` is not supported.", param="suffix")
    if bytes(request.truncate_prompt_tokens) != b"null":
        raise NotSupported(
            "`truncate_prompt_tokens` is not supported: no prompt is cut.",
            param="truncate_prompt_tokens",
        )
    if request.best_of is not None and request.best_of > request.num_choices:
        raise NotSupported("`best_of` above `n` is not supported.", param="best_of")


def _check_prompt(request: CompletionRequest) -> None:
    if isinstance(request.prompt, list) and len({type(each) for each in request.prompt}) > 1:
        raise ValidationFault(
            "`prompt` is a list of texts, of token ids, or of lists of them; these are mixed.",
            param="prompt",
        )


def _counts(request: CompletionRequest, limits: RequestLimits) -> Iterator[tuple[str, int, int]]:
    """The path of what is counted, how much there is, and how much there may be."""
    yield "prompt", request.num_prompts, MAX_PROMPTS
    yield "n", request.num_choices, limits.max_choices
    yield "logit_bias", len(request.logit_bias or ()), limits.max_logit_bias
    yield "logprobs", request.logprobs or 0, limits.max_top_logprobs
    yield from stop_counts(request, limits)


def _check_combinations(request: CompletionRequest) -> None:
    """Of fields that do not go together `param` is the one to change."""
    check_stream_options(request)
    if request.best_of is not None and request.best_of < request.num_choices:
        raise ValidationFault("`best_of` is less than `n`.", param="best_of")
    if (request.min_tokens or 0) > request.num_max_tokens:
        raise ValidationFault("`min_tokens` is more than `max_tokens`.", param="min_tokens")
    check_biases(request)
