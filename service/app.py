"""The composition root: the one list of routes and middleware, and what they are made of."""

from __future__ import annotations

import math
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from engine.inline import open_inline
from engine.process import open_process
from observability.metrics import Metrics
from observability.recorder import Recorder
from observability.tracing import Tracing
from observability.wall_clock import WallClock
from service.answering import AnswerLimits
from service.api.chat import ChatApi
from service.api.completions import CompletionsApi
from service.api.health import HealthApi
from service.api.metrics import MetricsApi
from service.api.models import ModelsApi
from service.api.openapi import OpenApi
from service.api.tokenize import TokenizeApi
from service.body import BodyLimits
from service.generation import Generator
from service.lifecycle import Lifecycle
from service.lifespan import OpenEngine, run_engine
from service.middleware.access_log import AccessLogMiddleware
from service.middleware.auth import AuthMiddleware
from service.middleware.cors import cors
from service.middleware.draining import DrainingMiddleware
from service.middleware.errors import ErrorMiddleware, error_handlers
from service.middleware.tracing import TracingMiddleware
from service.models.manager import ModelManager
from service.models.register import register
from service.openapi.document import Facts, document_of
from service.openapi.operations import OPERATIONS
from service.openapi.page import page
from service.openapi.version import installed_version
from service.request_limits import RequestLimits

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
    registry = register(settings, card)
    budget_bytes = registry.first.config.memory_bytes or math.inf
    manager = ModelManager(
        registry, lambda: lifecycle.client, registry.first.load_text(), budget_bytes=budget_bytes
    )
    routes = [
        *api_routes(settings, manager),
        *health_routes(lifecycle, card),
        *document_routes(settings, card.name),
    ]
    metrics = Metrics([*(r.path_format for r in routes), "/metrics"], lambda: tracing.counts)
    routes.append(Route("/metrics", MetricsApi(metrics, lifecycle, card.name).scrape))
    recorder = Recorder(
        tracing, metrics, WallClock(time.time_ns(), time.monotonic_ns()), secrets.token_bytes
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        open_it, drain_timeout_s = (
            open_engine or opener_of(settings),
            settings.server.drain_timeout_s,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_models, manager, lifecycle)
            async with run_engine(lifecycle, registry.first.config, open_it, drain_timeout_s):
                yield
            tasks.cancel_scope.cancel()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers=error_handlers(),
        middleware=middleware_of(settings, lifecycle, recorder),
    )
    # Redirecting would answer with a URL built from the Host header, which a client chooses.
    app.router.redirect_slashes = False
    return app


def middleware_of(settings: Settings, lifecycle: Lifecycle, recorder: Recorder) -> list[Middleware]:
    """What every request goes through, outermost first."""
    return [
        Middleware(
            TracingMiddleware, recorder, clock_ns=time.monotonic_ns, random=secrets.token_bytes
        ),
        Middleware(AccessLogMiddleware, clock_ns=time.monotonic_ns),
        *cors(settings.server),
        Middleware(ErrorMiddleware),
        Middleware(AuthMiddleware, settings.auth.api_key),
        Middleware(DrainingMiddleware, lifecycle),
    ]


def document_routes(settings: Settings, model: str) -> list[Route]:
    """The API's document and its page; `model` is the one in examples."""

    def make() -> bytes:
        limits = settings.limits
        facts = Facts(
            version=installed_version(),
            model=model,
            limits=msgspec.convert(limits, RequestLimits, from_attributes=True),
            max_body_bytes=limits.max_body_bytes,
            max_nesting=limits.max_json_nesting,
            is_lenient=limits.input_validation == "lenient",
            needs_key=settings.auth.api_key is not None,
        )
        return msgspec.json.encode(document_of(OPERATIONS, facts))

    api = OpenApi(make, page)
    return [Route("/openapi.json", api.document), Route("/docs", api.page)]


def api_routes(settings: Settings, manager: ModelManager) -> list[Route]:
    """What clients call."""
    generator, limits = Generator(manager), answer_limits(settings)
    chat, completions = ChatApi(generator, limits), CompletionsApi(generator, limits)
    tokens = TokenizeApi(generator, manager.registry, limits)
    models = ModelsApi(manager, needs_loopback=settings.auth.api_key is None)
    return [
        Route("/v1/chat/completions", chat.create, methods=["POST"]),
        Route("/v1/completions", completions.create, methods=["POST"]),
        Route("/tokenize", tokens.tokenize, methods=["POST"]),
        Route("/detokenize", tokens.detokenize, methods=["POST"]),
        Route("/v1/models", models.list),
        Route("/v1/models/{model:path}/load", models.load, methods=["POST"]),
        Route("/v1/models/{model:path}/unload", models.unload, methods=["POST"]),
        Route("/v1/models/{model:path}", models.retrieve),
    ]


def health_routes(lifecycle: Lifecycle, card: ModelCard) -> list[Route]:
    """What load balancers and people who watch call."""
    health = HealthApi(lifecycle, card.name, time.monotonic)
    return [
        Route("/health", health.report),
        Route("/health/live", health.live),
        Route("/health/ready", health.ready),
    ]


def opener_of(settings: Settings) -> OpenEngine:
    """Where the engine runs: beside HTTP in a process of its own, or in this one."""
    return open_process if settings.engine.engine_mode == "process" else open_inline


def answer_limits(settings: Settings) -> AnswerLimits:
    """Bounds of a request for generated text."""
    limits = settings.limits
    return AnswerLimits(
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


async def run_models(manager: ModelManager, lifecycle: Lifecycle) -> None:
    """Load and unload models for as long as the engine lives."""
    await manager.run(await lifecycle.wait_client())
