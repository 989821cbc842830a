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


class AttentionNotServed(Exception):
    """A layer wants what the step's attention cannot give; the text says what."""


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
    is_causal: bool | None = None,
    kvorum: PagedAttention | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The signature is transformers'. No mask is registered for us: there is one only where a
    family makes its own, which would be more than causal.

    Raises:
        AttentionNotServed: the family needs something else, and would answer wrong without it.
    """
    if kvorum is None:
        raise AttentionNotServed("it does not let Kvorum's attention into its layers")
    if attention_mask is not None:
        raise AttentionNotServed("its layers choose by a mask of their own what a token sees")
    if is_causal is False or getattr(module, "is_causal", True) is False:
        raise AttentionNotServed("its tokens see what follows them")
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
