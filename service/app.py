"""The composition root: the one list of routes and middleware, and what they are made of."""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from engine.config import CacheConfig, EngineConfig, SchedulerConfig, WatchdogConfig
from engine.inline import open_inline
from engine.process import open_process
from observability.metrics import Metrics
from observability.recorder import Recorder
from observability.tracing import Tracing
from observability.wall_clock import WallClock
from service.api.chat import ChatApi, ChatLimits
from service.api.health import HealthApi
from service.api.metrics import MetricsApi
from service.api.models import ModelsApi
from service.body import BodyLimits
from service.generation import Generator
from service.lifecycle import Lifecycle
from service.lifespan import OpenEngine, run_engine
from service.middleware.access_log import AccessLogMiddleware
from service.middleware.auth import AuthMiddleware
from service.middleware.draining import DrainingMiddleware
from service.middleware.errors import ErrorMiddleware, error_handlers
from service.middleware.tracing import TracingMiddleware
from service.request_limits import RequestLimits
from service.schemas.models import ModelObject
from service.served_model import ServedModels, load_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.models.card import ModelCard
    from service.settings import Settings


def create_app(
    settings: Settings,
    card: ModelCard,
    *,
    lifecycle: Lifecycle | None = None,
    tracing: Tracing | None = None,
    open_engine: OpenEngine | None = None,
) -> Starlette:
    """The ASGI application. `lifecycle` and `tracing` are given by whoever wants to watch them,
    `open_engine` by who wants another engine than `engine_mode` says.

    Raises:
        TextError: the model's tokenizer or template cannot be used.
    """
    lifecycle = lifecycle or Lifecycle()
    tracing = tracing or Tracing()
    served = served_models(settings, card)
    chat = ChatApi(served, Generator(lambda: lifecycle.client), chat_limits(settings))
    health = HealthApi(lifecycle, card.name, time.monotonic)
    models = ModelsApi([model_object(settings, card)])
    routes = [
        Route("/v1/chat/completions", chat.create, methods=["POST"]),
        Route("/v1/models", models.list),
        Route("/v1/models/{model:path}", models.retrieve),
        Route("/health", health.report),
        Route("/health/live", health.live),
        Route("/health/ready", health.ready),
    ]
    metrics = Metrics([*(r.path_format for r in routes), "/metrics"], lambda: tracing.counts)
    routes.append(Route("/metrics", MetricsApi(metrics, lifecycle, card.name).scrape))
    recorder = Recorder(
        tracing, metrics, WallClock(time.time_ns(), time.monotonic_ns()), secrets.token_bytes
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        config = engine_config(settings, card)
        drain_timeout_s = settings.server.drain_timeout_s
        async with run_engine(
            lifecycle, config, open_engine or opener_of(settings), drain_timeout_s
        ):
            yield

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers=error_handlers(),
        middleware=[  # outermost first
            Middleware(
                TracingMiddleware, recorder, clock_ns=time.monotonic_ns, random=secrets.token_bytes
            ),
            Middleware(AccessLogMiddleware, clock_ns=time.monotonic_ns),
            Middleware(ErrorMiddleware),
            Middleware(AuthMiddleware, settings.auth.api_key),
            Middleware(DrainingMiddleware, lifecycle),
        ],
    )
    # Redirecting would answer with a URL built from the Host header, which a client chooses.
    app.router.redirect_slashes = False
    return app


def served_models(settings: Settings, card: ModelCard) -> ServedModels:
    """What is served: one model, with the parsers that the settings name for it."""
    model = load_text(
        card,
        tool_call_parser=settings.model.tool_call_parser,
        reasoning_parser=settings.model.reasoning_parser,
    )
    return ServedModels([model])


def opener_of(settings: Settings) -> OpenEngine:
    """Where the engine runs: beside HTTP in a process of its own, or in this one."""
    return open_process if settings.engine.engine_mode == "process" else open_inline


def model_object(settings: Settings, card: ModelCard) -> ModelObject:
    """The entry of `/v1/models`, known before the engine is ready."""
    max_model_len = min(settings.model.max_model_len or card.max_model_len, card.max_model_len)
    return ModelObject(id=card.name, created=card.created, max_model_len=max_model_len)


def chat_limits(settings: Settings) -> ChatLimits:
    """Bounds of a chat request."""
    limits = settings.limits
    return ChatLimits(
        body=BodyLimits(
            max_bytes=limits.max_body_bytes,
            max_stall_s=limits.body_timeout_s,
            max_nesting=limits.max_json_nesting,
        ),
        request=msgspec.convert(limits, RequestLimits, from_attributes=True),
        max_request_s=limits.request_timeout_s,
        is_lenient=limits.input_validation == "lenient",
        heeds_priority=settings.engine.scheduling == "priority",
    )


def engine_config(settings: Settings, card: ModelCard) -> EngineConfig:
    """What the engine is told of the settings."""
    engine = settings.engine
    return EngineConfig(
        card=card,
        device=settings.model.device,
        dtype=settings.model.dtype,
        max_model_len=settings.model.max_model_len,
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
