"""From the settings to the models that may be served. Reads their folders; the first may be known."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from engine.config import CacheConfig, EngineConfig, SchedulerConfig, WatchdogConfig
from engine.models.registry import resolve
from service.models.registry import ModelRegistry, RegisteredModel
from service.served_model import load_text
from service.settings import SettingsError

if TYPE_CHECKING:
    from engine.models.card import ModelCard
    from service.settings import ModelEntry, Settings


def register(settings: Settings, card: ModelCard) -> ModelRegistry:
    """`card` is that of the first model; the others' folders are found here.

    Raises:
        ModelError: one of them cannot be found, or not be served.
        SettingsError: two have one name.
    """
    first = RegisteredModel(
        config=engine_config(settings, card),
        load_text=partial(
            load_text,
            card,
            tool_call_parser=settings.model.tool_call_parser,
            reasoning_parser=settings.model.reasoning_parser,
        ),
        timeout_s=settings.model.model_timeout,
    )
    others = [_registered(entry, settings, first) for entry in settings.further_models]
    try:
        return ModelRegistry([first, *others])
    except ValueError as error:
        raise SettingsError(f"{error}: give one of them another (NAME=MODEL)") from None


def _registered(entry: ModelEntry, settings: Settings, first: RegisteredModel) -> RegisteredModel:
    card = resolve(entry.model, entry.name)
    config, defaults = first.config, settings.model
    num_blocks = config.cache.num_blocks if entry.num_blocks is None else entry.num_blocks
    return RegisteredModel(
        config=msgspec.structs.replace(
            config,
            card=card,
            dtype=entry.dtype or config.dtype,
            max_model_len=entry.max_model_len or 0,
            cache=CacheConfig(num_blocks=num_blocks),
        ),
        load_text=partial(
            load_text,
            card,
            tool_call_parser=entry.tool_call_parser or defaults.tool_call_parser,
            reasoning_parser=entry.reasoning_parser or defaults.reasoning_parser,
        ),
        aliases=entry.aliases,
        is_pinned=entry.pinned,
        timeout_s=first.timeout_s if entry.model_timeout is None else entry.model_timeout,
    )


def engine_config(settings: Settings, card: ModelCard) -> EngineConfig:
    """What the engine is told of the settings."""
    engine = settings.engine
    return EngineConfig(
        card=card,
        device=settings.model.device,
        dtype=settings.model.dtype,
        max_model_len=settings.model.max_model_len,
        memory_bytes=int(settings.model.model_memory_gib * 2**30),
        num_threads=engine.num_threads,
        cache=CacheConfig(num_blocks=engine.num_blocks),
        scheduler=SchedulerConfig(
            max_batch_tokens=engine.max_batch_tokens,
            max_running=engine.max_running,
            max_waiting=engine.max_waiting,
            max_waiting_tokens=engine.max_waiting_tokens,
            policy=engine.scheduling,
            continuous_batching=engine.continuous_batching,
            max_samples=settings.limits.max_choices,
        ),
        watchdog=WatchdogConfig(max_step_s=engine.step_timeout_s),
        log_level=settings.telemetry.log_level,
        log_format=settings.telemetry.log_format,
    )
