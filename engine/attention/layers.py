"""What the layers of a model cache, and which of them see the same tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


class LayerShape(NamedTuple):
    """What one layer stores for a token, and how many tokens a token sees (None: all)."""

    num_kv_heads: int
    key_size: int
    value_size: int
    window: int | None = None


class LayerGroup(NamedTuple):
    """Layers that see the same tokens share block tables."""

    window: int | None
    layers: dict[int, LayerShape]

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes of cache that one token takes in all layers of the group."""
        shapes = self.layers.values()
        return sum(s.num_kv_heads * (s.key_size + s.value_size) for s in shapes) * dtype.itemsize


def group_layers(layers: Mapping[int, LayerShape], max_model_len: int) -> list[LayerGroup]:
    """The widest view first. A window as long as the longest sequence is none."""

    def seen(shape: LayerShape) -> int | None:
        is_narrow = shape.window is not None and shape.window < max_model_len
        return shape.window if is_narrow else None

    windows = {seen(shape) for shape in layers.values()}
    ordered = sorted(windows, key=lambda w: -(max_model_len if w is None else w))
    return [
        LayerGroup(window, {i: shape for i, shape in layers.items() if seen(shape) == window})
        for window in ordered
    ]
