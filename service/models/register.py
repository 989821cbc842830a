"""From the settings to the models that may be served. Reads their folders; the first may be known."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

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
    first, *others = settings.entries
    models = [_registered(settings, first, card)]
    models += [_registered(settings, entry, resolve(entry.model, entry.name)) for entry in others]
    try:
        return ModelRegistry(models)
    except ValueError as error:
        raise SettingsError(f"{error}: give one of them another (NAME=MODEL)") from None


def _registered(settings: Settings, entry: ModelEntry, card: ModelCard) -> RegisteredModel:
    return RegisteredModel(
        config=_engine_config(settings, entry, card),
        load_text=partial(
            load_text,
            card,
            tool_call_parser=entry.tool_call_parser or "auto",
            reasoning_parser=entry.reasoning_parser or "auto",
        ),
        aliases=entry.aliases,
        is_pinned=entry.pinned,
        timeout_s=entry.model_timeout or 0.0,
    )


def _engine_config(settings: Settings, entry: ModelEntry, card: ModelCard) -> EngineConfig:
    """What the engine is told of the settings."""
    engine = settings.engine
    return EngineConfig(
        card=card,
        device=settings.model.device,
        dtype=entry.dtype or "auto",
        max_model_len=entry.max_model_len or 0,
        memory_bytes=int(settings.model.model_memory_gib * 2**30),
        num_threads=engine.num_threads,
        cache=CacheConfig(num_blocks=entry.num_blocks or 0),
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
