"""How long a server takes from its command to its first token, and what that costs."""

from __future__ import annotations

import http.client
import time
from functools import partial

import anyio
import anyio.to_thread
import msgspec

from observability.bench.beside import beside
from observability.bench.errors import CannotMeasure
from observability.bench.load.endpoint import ChatEndpoint
from observability.bench.load.event_stream import EventStream
from observability.bench.probe import first_model
from observability.bench.server_command import ServerCommand
from observability.bench.watch.process_tree import ProcessTree

_PERIOD_S = 0.005
_DEADLINE_S = 900.0
_MAX_READ_BYTES = 2**16
_MAX_SHOWN = 300


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Since the command was started."""

    wall_s: float
    cpu_s: float
    """Of all the server's processes."""


class Startup(msgspec.Struct, frozen=True, kw_only=True):
    """One start. Whether files were in the page cache is not controlled."""

    live: Moment
    """The first answer of HTTP, whatever it says."""
    ready: Moment
    first_token: Moment
    """Of a short chat that was asked once it was ready."""
    peak_rss_bytes: int
    peak_pss_bytes: int
    """Shared pages counted once; 0 if the system does not tell."""
    num_processes: int
    stop_s: float
    """From SIGTERM until all is gone."""


async def measure_startup(words: str) -> Startup:
    """Start the command, ask it for a token, stop it. Raises `BenchError`."""
    command = ServerCommand(words)
    began_s = time.monotonic()
    await command.start()
    tree = ProcessTree(command.pid)

    def moment() -> Moment:
        wall_s = time.monotonic() - began_s
        return Moment(wall_s=wall_s, cpu_s=tree.cpu_s())

    try:
        async with beside(tree.watch):
            await _live(command)
            live = moment()
            await command.wait_ready(_PERIOD_S)
            ready = moment()
            # Abandoned, it ends when the server does.
            ask = partial(_ask_for_a_token, command.port)
            await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
            first_token = moment()
            num_processes = tree.use().num_processes
        stopped_s = time.monotonic()
    finally:
        await command.stop()
    return Startup(
        live=live,
        ready=ready,
        first_token=first_token,
        peak_rss_bytes=tree.peak_rss_bytes,
        peak_pss_bytes=tree.peak_pss_bytes,
        num_processes=num_processes,
        stop_s=time.monotonic() - stopped_s,
    )


async def _live(command: ServerCommand) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline_s:
        command.check_alive()
        if await anyio.to_thread.run_sync(_answers, command.port, abandon_on_cancel=True):
            return
        await anyio.sleep(_PERIOD_S)
    raise CannotMeasure(f"the server does not answer after {_DEADLINE_S:.0f} s")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", "/health/live")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _ask_for_a_token(port: int) -> None:
    """Returns when the first text has come. Raises `CannotMeasure`."""
    model = first_model(f"http://127.0.0.1:{port}", None, is_insecure=False)
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 4,
        "stream": True,
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_DEADLINE_S)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", ChatEndpoint.path, msgspec.json.encode(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            said = answer.read(_MAX_SHOWN).decode(errors="replace")
            raise CannotMeasure(f"the server gave no token; it answers {answer.status}: {said}")
        _read_a_token(answer)
    except (OSError, http.client.HTTPException) as error:
        raise CannotMeasure(f"the server gave no token: {error}") from None
    finally:
        connection.close()


def _read_a_token(answer: http.client.HTTPResponse) -> None:
    """Text of any kind counts: a model that reasons may not come to its answer."""
    endpoint, events = ChatEndpoint(), EventStream()
    while data := answer.read1(_MAX_READ_BYTES):
        for payload in events.feed(data):
            if payload == b"[DONE]":
                continue
            try:
                piece = endpoint.read(payload)
            except msgspec.DecodeError as error:
                raise CannotMeasure(f"the server's stream cannot be read: {error}") from None
            if piece.error:
                raise CannotMeasure(f"the server gave no token; its stream says: {piece.error}")
            if piece.text or piece.reasoning or piece.arguments:
                return
    raise CannotMeasure("the server gave no token; its stream ended without a text")
