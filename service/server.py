"""Runs the application on Hypercorn: sockets, signals, exit code.

The order of a start: `bind` → (the caller finds the model) → `serve`: listen, HTTP, weights. The order of a stop: a signal, or the engine's end, → the lifecycle drains while HTTP still serves →
the engine is closed, which ends the streams that are left → Hypercorn stops → the exit code.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import ssl
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from hypercorn.config import Sockets

from service.app import create_app
from service.banner import banner, url_of
from service.http.serve import serve as serve_http
from service.hypercorn_config import FLUSH_TIMEOUT_S, hypercorn_config
from service.lifecycle import Lifecycle, State
from service.settings import SettingsError

if TYPE_CHECKING:
    from hypercorn.config import Config
    from starlette.types import ASGIApp

    from engine.models.card import ModelCard
    from observability.tracing import Tracing
    from service.lifespan import OpenEngine
    from service.settings import ServerSettings, Settings

EXIT_OK = 0
EXIT_ENGINE_DIED = 1
EXIT_CANNOT_START = 5

_BACKLOG = 1024
# One Ctrl-C often arrives twice: from the terminal, and forwarded by a parent such as npm or make.
_ONE_KEYSTROKE_S = 0.5
_CUT_OFF_MARGIN_S = 2.0
_STEP_MARGIN_S = 15.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOADING_GRACE_S = 1.0  # for those who wait for the model to hear 503


class CannotBind(Exception):
    """The address cannot be listened on; the text says why and what to do."""


def bind(server: ServerSettings) -> socket.socket:
    """A bound socket that does not listen yet: what makes a start fail early is asked first.

    Raises:
        CannotBind: the address is taken, forbidden or not of this machine.
    """
    try:
        found = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):  # the second for labels that no name may have
        raise CannotBind(f"--host {server.host}: there is no such address") from None
    # "localhost" is two addresses; the older one is what every client tries.
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    family, kind, protocol, _, address = found[0]
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family, kind, protocol))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind(address)
        except OSError as error:
            raise CannotBind(_why(error, server)) from None
        listener.setblocking(False)
        stack.pop_all()
        return listener


def serve(
    settings: Settings,
    card: ModelCard,
    listener: socket.socket,
    *,
    version: str = "",
    tracing: Tracing | None = None,
    open_engine: OpenEngine | None = None,
) -> int:
    """Serve on the bound `listener` until a signal or the engine's end; returns the exit code.

    Raises:
        CannotBind: another server has taken the address since `bind`.
        SettingsError: certificate and key cannot be used.
        TextError: the model's tokenizer or template cannot.
    """
    config = hypercorn_config(settings.server)
    _check_certificate(config)
    lifecycle = Lifecycle()
    app = create_app(settings, card, lifecycle=lifecycle, tracing=tracing, open_engine=open_engine)
    try:  # two sockets that are only bound may share a port under SO_REUSEADDR
        listener.listen(_BACKLOG)
    except OSError as error:
        raise CannotBind(_why(error, settings.server)) from None
    port = listener.getsockname()[1]
    text_of = partial(
        banner,
        model=card.name,
        urls=[url_of(settings.server.host, port, is_tls=config.ssl_enabled)],
        needs_key=settings.auth.api_key is not None,
        host=settings.server.host,
        version=version,
    )
    anyio.run(_run, app, config, listener, lifecycle, text_of, settings.server.drain_timeout_s)
    if lifecycle.fault is None:
        return EXIT_OK
    sys.stderr.write(f"kvorum: {lifecycle.fault.message}\n")
    return EXIT_ENGINE_DIED if lifecycle.was_ready else EXIT_CANNOT_START


def _why(error: OSError, server: ServerSettings) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {server.port} on {server.host} is taken by another program.\n"
                "Stop it, or choose another port with --port (0 takes a free one)."
            )
        case errno.EACCES:
            return (
                f"port {server.port} may not be used without privileges.\n"
                "Choose one above 1023 with --port."
            )
        case errno.EADDRNOTAVAIL:
            return (
                f"{server.host} is no address of this machine.\n"
                "Choose one with --host: 127.0.0.1 for this machine only, 0.0.0.0 for all."
            )
        case _:
            return f"cannot listen on {server.host} port {server.port}: {error.strerror}"


def _check_certificate(config: Config) -> None:
    """Load certificate and key once before anything starts; Hypercorn loads them again."""
    try:
        config.create_ssl_context()
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"--ssl-certfile, --ssl-keyfile: cannot be used together: {reason}"
        ) from None


async def _run(
    app: ASGIApp,
    config: Config,
    listener: socket.socket,
    lifecycle: Lifecycle,
    text_of: partial[str],
    drain_timeout_s: float,
) -> None:
    asyncio.get_running_loop().set_exception_handler(_on_loop_exception)
    secure, insecure = ([listener], []) if config.ssl_enabled else ([], [listener])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_obey_signals, lifecycle)
        tasks.start_soon(_announce, lifecycle, text_of)
        tasks.start_soon(_cut_off, lifecycle, tasks.cancel_scope)
        tasks.start_soon(_end_hung_drain, lifecycle, drain_timeout_s)
        tasks.start_soon(
            _serve_http, app, config, Sockets(secure, insecure, []), lifecycle, tasks.cancel_scope
        )


async def _serve_http(
    app: ASGIApp,
    config: Config,
    sockets: Sockets,
    lifecycle: Lifecycle,
    scope: anyio.CancelScope,
) -> None:
    await serve_http(app, config, sockets, lifecycle.wait_down)
    scope.cancel()


async def _obey_signals(lifecycle: Lifecycle) -> None:
    """The first signal drains, a second one stops at once. Nothing after the last request is worth
    a signal: from then on they are ignored, for a supervisor may send several."""
    try:
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            await anext(signals)
            first_s = anyio.current_time()
            sys.stderr.write(
                f"kvorum: shutting down, {lifecycle.num_open} requests running"
                " (Ctrl-C again to stop at once)\n"
            )
            is_loading = lifecycle.state is State.LOADING
            lifecycle.begin_drain()
            if is_loading:
                await _stop_loading(lifecycle)
            async for number in signals:
                if anyio.current_time() - first_s > _ONE_KEYSTROKE_S:
                    sys.stderr.write("kvorum: stopped at once\n")
                    # A step may be running in a thread, which an orderly exit would wait for.
                    os._exit(128 + number)
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


async def _end_hung_drain(lifecycle: Lifecycle, drain_timeout_s: float) -> None:
    """An inline step that does not end holds up a thread, and that the end of the process."""
    await lifecycle.wait_drain_asked()
    with anyio.move_on_after(drain_timeout_s + _STEP_MARGIN_S):
        await lifecycle.wait_down()
    if lifecycle.state is not State.DOWN:
        sys.stderr.write("kvorum: the running step does not end; stopped\n")
        os._exit(EXIT_ENGINE_DIED)


async def _stop_loading(lifecycle: Lifecycle) -> None:
    """Loading runs in a thread that nothing can interrupt, for minutes with a large model; as
    nothing has been answered yet, nothing is lost by leaving it behind."""
    with anyio.move_on_after(_LOADING_GRACE_S):
        await lifecycle.wait_down()
    if lifecycle.state is not State.DOWN:
        os._exit(EXIT_OK)


async def _announce(lifecycle: Lifecycle, text_of: partial[str]) -> None:
    await lifecycle.wait_ready()
    sys.stderr.write(text_of(ready=lifecycle.client.ready))
    sys.stderr.flush()


async def _cut_off(lifecycle: Lifecycle, scope: anyio.CancelScope) -> None:
    """Whatever an application does that does not end, the process does."""
    await lifecycle.wait_down()
    await anyio.sleep(FLUSH_TIMEOUT_S + _CUT_OFF_MARGIN_S)
    scope.cancel()


def _on_loop_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A TLS handshake that a stranger spoils is no event of ours; Hypercorn's runner agrees."""
    if not isinstance(context.get("exception"), ssl.SSLError):
        loop.default_exception_handler(context)
