"""`ShapeProbe`: a dry run tells what each layer caches, whatever the family's config says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.attention.layers import LayerShape

if TYPE_CHECKING:
    import torch

_MAX_ROUNDING = 0.02
"""Of the norm of a key. bfloat16 rounds each of its numbers by less than 0.004; the next position
moves the key of each tested family by 0.22 or more."""


class ShapeProbe:
    """A `PagedAttention` that stores nothing, remembers shapes and answers zeros.

    It also keeps the keys of the first layer that attends: they tell whether a model goes by the
    positions it is given. Later layers would tell more, but there a mixture of experts may choose
    others for a difference in the last bit.
    """

    def __init__(self) -> None:
        self.layers: dict[int, LayerShape] = {}
        self._first_keys_kTD: torch.Tensor | None = None

    def attend(
        self,
        layer: int,
        q_1HqTD: torch.Tensor,
        k_1HkvTD: torch.Tensor,
        v_1HkvTDv: torch.Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
        sinks_Hq: torch.Tensor | None,
    ) -> torch.Tensor:
        if layer in self.layers:
            raise ValueError(f"two attention modules call themselves layer {layer}")
        _, num_kv_heads, _, key_size = k_1HkvTD.shape
        value_size = v_1HkvTDv.shape[-1]
        if self._first_keys_kTD is None:
            self._first_keys_kTD = k_1HkvTD[0]
        self.layers[layer] = LayerShape(num_kv_heads, key_size, value_size, sliding_window)
        _, num_heads, num_tokens, _ = q_1HqTD.shape
        return q_1HqTD.new_zeros(1, num_tokens, num_heads, value_size)

    def has_same_last_key(self, other: ShapeProbe) -> bool:
        """The last tokens of two runs had the same key in the first layer, but for rounding."""
        assert self._first_keys_kTD is not None
        assert other._first_keys_kTD is not None
        key, other_key = self._first_keys_kTD[:, -1].float(), other._first_keys_kTD[:, -1].float()
        return bool((key - other_key).norm() <= _MAX_ROUNDING * key.norm())
