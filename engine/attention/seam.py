"""Registers one attention function with transformers, which finds the step's `PagedAttention`
among the keyword arguments that a forward call hands down to each layer.

Families that do not hand keyword arguments down fail at the probe, clearly and at start-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import AttentionInterface

if TYPE_CHECKING:
    import torch

    from engine.attention.base import PagedAttention

IMPLEMENTATION = "kvorum_paged"
"""The name to give to `model.set_attn_implementation`."""


class SeamNotReached(Exception):
    """A layer was called without the step's attention: this family hides it from its layers."""


def attention_function(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    kvorum: PagedAttention | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The signature is transformers'; the mask is always None because none is registered."""
    if kvorum is None:
        raise SeamNotReached(type(module).__name__)
    layer: int = module.layer_idx  # type: ignore[assignment]
    output = kvorum.attend(
        layer,
        query,
        key,
        value,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        sliding_window=sliding_window,
        softcap=softcap,
        sinks_Hq=s_aux,
    )
    return output, None


def register() -> None:
    """Make `IMPLEMENTATION` known to transformers; again is harmless."""
    AttentionInterface.register(IMPLEMENTATION, attention_function)
