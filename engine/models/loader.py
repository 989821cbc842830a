"""From a model folder to a runner: the real Hugging Face loading code, then our attention.

Runs on the device thread. What cannot be served right is refused here, at the start, with a
reason: a family that hides keyword arguments from its layers, or whose layers carry state that
a packed row of sequences would mix.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tqdm import tqdm
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from engine.attention.layers import group_layers
from engine.attention.paged_sdpa import SdpaBackend
from engine.attention.probe import ShapeProbe
from engine.attention.seam import IMPLEMENTATION, AttentionNotServed, register
from engine.cache_size import CacheSize, GroupSize
from engine.device import (
    cache_budget_bytes,
    choose_device,
    choose_dtype,
    free_bytes,
    set_num_threads,
)
from engine.errors import OutOfMemory, StartupError
from engine.model_runner import ModelRunner
from engine.models import quantized
from engine.models.families import SUPPORTED, TESTED
from engine.protocol import Ready
from engine.runner import LoadedModel
from engine.structured.vocabulary import vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.attention.layers import LayerShape
    from engine.config import EngineConfig
    from engine.models.card import ModelCard


logger = logging.getLogger(__name__)


def load(config: EngineConfig, progress: Callable[[float], None]) -> LoadedModel:
    """Load the weights, learn the cache's shape, allocate it, and run one step.

    Args:
        progress: is told the fraction of the weights loaded, 0 to 1.

    Raises:
        StartupError: with a text for the person who started the server.
    """
    card = config.card
    set_num_threads(config.num_threads, card.size_bytes)
    device = choose_device(config.device)
    size_bytes = _check_loadable(card, device)
    dtype = choose_dtype(config.dtype, card.dtype, device, size_bytes)
    model = _load_weights(card, dtype, device, progress)
    layers = probe_layers(model, device)
    groups = group_layers(layers, card.max_model_len)
    sizes = [GroupSize(group.bytes_per_token(dtype), group.window) for group in groups]
    weight_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    allowed_bytes = config.memory_bytes - weight_bytes if config.memory_bytes else math.inf
    counts, max_model_len = _size_cache(config, sizes, allowed_bytes, device)
    block_size = config.cache.block_size
    attention = SdpaBackend(groups, counts, block_size, dtype, device)
    vocab_size = model.config.get_text_config().vocab_size
    ready = Ready(
        model=card.name,
        device=_describe(device),
        dtype=str(dtype).removeprefix("torch."),
        num_blocks=sum(counts),
        block_size=block_size,
        max_model_len=max_model_len,
        max_batch_tokens=config.scheduler.max_batch_tokens,
        num_parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=weight_bytes,
        kv_cache_bytes=sum(
            count * block_size * size.bytes_per_token
            for count, size in zip(counts, sizes, strict=True)
        ),
        vocab_size=vocab_size,
    )
    runner = ModelRunner(
        model,
        attention,
        device,
        num_rows=config.scheduler.num_rows,
        vocab_size=vocab_size,
        max_model_len=max_model_len,
        vocabulary=vocabulary_of(config.card, vocab_size),
    )
    runner.probe()
    windows = [group.window for group in groups]
    return LoadedModel(runner, ready, list(zip(counts, windows, strict=True)))


def _check_loadable(card: ModelCard, device: torch.device) -> int:
    """Bytes that the weights take once they are loaded.

    Raises:
        StartupError: transformers cannot load them.
        OutOfMemory: they are more than the device has free.
    """
    if not hasattr(transformers, card.architecture):
        raise StartupError(
            f"{card.name} is a {card.architecture}, which transformers {transformers.__version__} "
            f"does not have. Code that comes with a model is never run. {SUPPORTED}."
        )
    quantized.check_method(card)
    size_bytes = quantized.loaded_bytes(card)
    if size_bytes > free_bytes(device):
        raise OutOfMemory(
            f"{card.name} has {size_bytes / 2**30:.1f} GiB of weights, more than the "
            f"{free_bytes(device) / 2**30:.1f} GiB that are free on {device}. Choose a smaller "
            "model, or free memory."
        )
    if card.model_type not in TESTED:
        logger.warning(
            "%s is a %s, a family that Kvorum is not tested with; see docs/models.md",
            card.name,
            card.model_type,
        )
    return size_bytes


def _load_weights(
    card: ModelCard, dtype: torch.dtype, device: torch.device, progress: Callable[[float], None]
) -> Any:
    register()
    previous = transformers_logging.set_tqdm_hook(_progress_hook(progress))
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            card.path,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **quantized.loading_options(card),
        )
        model, report = loaded
        model.set_attn_implementation(IMPLEMENTATION)
        model = model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"The weights of {card.name} do not fit on {device}. Choose a smaller model or dtype."
        ) from error
    except Exception as error:  # a broken folder makes foreign code raise whatever it likes
        logger.debug("loading failed", exc_info=True)
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        if card.quantization:
            raise StartupError(quantized.cannot_load(card, first_line)) from error
        raise StartupError(
            f"{card.name} cannot be loaded from {card.path}: {first_line}"
        ) from error
    finally:
        transformers_logging.set_tqdm_hook(previous)
    _check_whole(card, report)
    return model


def _check_whole(card: ModelCard, report: dict[str, Any]) -> None:
    """transformers fills what a checkpoint lacks with random numbers, and only warns.

    Raises:
        StartupError: weights are missing, or have another shape than config.json says.
    """
    faults = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if faults:
        raise StartupError(
            f"{card.name} is not whole: {len(faults)} weights are missing or have another shape than "
            f"config.json says, among them {faults[0]}. Download it again."
        )
    quantized.check_no_scales_left(card, report["unexpected_keys"])
    if report["unexpected_keys"]:
        logger.warning("%s has %d weights too many", card.name, len(report["unexpected_keys"]))


def _progress_hook(progress: Callable[[float], None]) -> Callable[..., Any]:
    """transformers draws its bars through this: ours looks alike and tells `progress` as well."""

    class Bar(tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.total:
                progress(self.n / self.total)
            return shown

    def make(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (
            Bar(*args, **kwargs)
            if kwargs.get("desc") == "Loading weights"
            else factory(*args, **kwargs)
        )

    return make


def probe_layers(model: Any, device: torch.device) -> dict[int, LayerShape]:
    """What each layer caches, learned from dry runs of a few tokens.

    Raises:
        StartupError: the family cannot be served through the paged attention.
    """
    family = type(model).__name__
    vocab_size = model.config.get_text_config().vocab_size
    tokens = [vocab_size * i // 9 for i in range(1, 9)]
    positions = list(range(0, 16, 2))
    try:
        probe = _dry_run(model, device, tokens, positions)
        alone = _dry_run(model, device, tokens[-1:], positions[-1:])
    except (AttentionNotServed, TypeError, ValueError, RuntimeError) as error:
        is_known = isinstance(error, AttentionNotServed)
        reason = str(error) if is_known else "it does not take what a packed row of tokens needs"
        raise StartupError(f"{family} is not supported: {reason}. {SUPPORTED}.") from error
    expected = model.config.get_text_config().num_hidden_layers
    if len(probe.layers) != expected:
        raise StartupError(
            f"{family} is not supported: {expected - len(probe.layers)} of its {expected} layers "
            "do not attend through Kvorum. They hide their attention, or carry a state of their "
            f"own that a batch of sequences would mix. {SUPPORTED}."
        )
    if not probe.has_same_last_key(alone):
        raise StartupError(
            f"{family} is not supported: what it makes of a token depends on the token's place in "
            f"the batch, not on its position in the text alone. {SUPPORTED}."
        )
    if _hides_window(model.config.get_text_config(), probe.layers):
        raise StartupError(
            f"{family} is not supported: its config.json sets a sliding_window, and its layers do "
            f"not tell Kvorum's attention of it. {SUPPORTED}."
        )
    return probe.layers


def _hides_window(config: Any, layers: dict[int, LayerShape]) -> bool:
    """A window that only transformers' own masks know of, and that a text could outgrow."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    is_used = getattr(config, "use_sliding_window", True) is not False
    if not window or not is_used or (kinds and "sliding_attention" not in kinds):
        return False
    is_narrow = bool(window < getattr(config, "max_position_embeddings", math.inf))
    return is_narrow and all(shape.window is None for shape in layers.values())


def _dry_run(
    model: Any, device: torch.device, token_ids: list[int], positions: list[int]
) -> ShapeProbe:
    probe = ShapeProbe()
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([token_ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=1,
            kvorum=probe,
        )
    return probe


def _size_cache(
    config: EngineConfig, groups: list[GroupSize], allowed_bytes: float, device: torch.device
) -> tuple[list[int], int]:
    """(number of blocks of each group, context length in tokens), within the memory there is.

    Raises:
        OutOfMemory: not even the context that was asked for fits.
    """
    block_size = config.cache.block_size
    context = min(config.max_model_len or config.card.max_model_len, config.card.max_model_len)
    size = CacheSize(
        groups,
        block_size=block_size,
        context=context,
        max_step_tokens=config.scheduler.max_batch_tokens,
    )
    num_blocks = config.cache.num_blocks
    if not num_blocks:
        useful = config.scheduler.max_running * size.context_blocks
        context_bytes = size.bytes_of(size.context_blocks)
        budget = min(cache_budget_bytes(device, context_bytes), allowed_bytes)
        num_blocks = size.largest_within(budget, useful)
    elif size.bytes_of(num_blocks) > min(free_bytes(device), allowed_bytes):
        raise OutOfMemory(
            f"--num-blocks {num_blocks} takes {size.bytes_of(num_blocks) / 2**30:.1f} "
            f"GiB, more than there is room for. Lower it, or "
            "leave it out: then the cache is sized to the memory."
        )
    if num_blocks >= size.context_blocks:
        return size.blocks_of(num_blocks), context
    if config.max_model_len or num_blocks * block_size < 128:
        raise OutOfMemory(
            f"The KV cache has room for {num_blocks * block_size} tokens, less than one sequence "
            f"of {context}. Lower --max-model-len, or give more --num-blocks or memory."
        )
    return size.blocks_of(num_blocks), num_blocks * block_size


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        # No GPU has run this code yet; docs/experiments.md says so too, and when that ends.
        return f"{device} ({torch.cuda.get_device_name(device)}), UNTESTED"
    return f"{device} ({torch.get_num_threads()} threads)"
