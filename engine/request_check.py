"""What makes a request one that can never run. Pure.

The service has checked all of this before, with the field's name. It is checked again where the
harm would be done: a request that slips through must not end a step that others share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import CONTEXT_LENGTH_EXCEEDED, INVALID_REQUEST
from engine.protocol import Failed

if TYPE_CHECKING:
    from engine.protocol import SamplingParams, Submit

MAX_LOGPROBS = 20
_MAX_ID = 1 << 31


def fault_of(
    submit: Submit, *, max_model_len: int, vocab_size: int, max_samples: int
) -> Failed | None:
    """Why it can never run; None if it can. `max_model_len` counts prompt and output tokens."""
    if len(submit.prompt) % 4:
        return Failed(INVALID_REQUEST, "The prompt is no array of token ids.")
    token_ids = submit.prompt_token_ids
    if not 0 < len(token_ids) < max_model_len:
        message = f"The prompt must have 1 to {max_model_len - 1} tokens."
        return Failed(CONTEXT_LENGTH_EXCEEDED, message)
    if max(token_ids) >= vocab_size:
        return Failed(INVALID_REQUEST, "The prompt has a token that the model does not know.")
    if not 1 <= submit.num_samples <= max_samples:
        return Failed(INVALID_REQUEST, f"A request has 1 to {max_samples} samples.")
    return _fault_of_params(submit.params, max_model_len)


def _fault_of_params(params: SamplingParams, max_model_len: int) -> Failed | None:
    if params.max_tokens < 1 or not 0 <= params.min_tokens <= max_model_len:
        return Failed(INVALID_REQUEST, "The numbers of tokens asked for cannot be.")
    for count in (params.num_logprobs, params.num_prompt_logprobs):
        if count is not None and not 0 <= count <= MAX_LOGPROBS:
            return Failed(INVALID_REQUEST, f"Log-probabilities go with 0 to {MAX_LOGPROBS} others.")
    biased = [token_id for token_id, _ in params.logit_bias]
    lists = (params.stop_token_ids, params.allowed_token_ids, params.banned_token_ids, biased)
    if any(not 0 <= token_id < _MAX_ID for ids in lists for token_id in ids):
        return Failed(INVALID_REQUEST, "A token id is out of the vocabulary.")
    return None
