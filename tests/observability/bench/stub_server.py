"""A server that answers as it is told: OpenAI's chunks at given times, errors, cuts, oddities.

    python -m tests.observability.bench.stub_server --port 0 --delay-ms 20 --gap-ms 5

prints its port and serves until it is killed, HTTP/1.1 and HTTP/2 by prior knowledge on one port.
How it answers is a `Behaviour`; a request lays its own over it with a field "stub" of its body:
{"stub": {"status": 429}}. Tokens are words: " w0", " w1", ... `GET /seen` tells what was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import msgspec
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener
from h2.settings import SettingCodes, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream, TaskGroup

GONE = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    ssl.SSLError,
    OSError,
)


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How a request is answered. Numbers of tokens count from the first."""

    delay_ms: float = 0.0
    """To the first token."""
    gap_ms: float = 0.0
    """From a token to the next."""
    head_delay_ms: float = 0.0
    """To the status: a server that is stuck."""
    status: int = 200
    num_tokens: int | None = None
    """Else what `max_tokens` asks for."""
    num_reasoning_tokens: int = 0
    """Of these, the first."""
    num_cached_tokens: int | None = None
    has_usage: bool = True
    has_done: bool = True
    has_reason: bool = True
    is_streamed: bool = True
    error_after: int | None = None
    """An error event in place of this token."""
    cut_after: int | None = None
    """The connection (or the stream) is broken off in place of this token."""
    bad_json_after: int | None = None
    is_no_http: bool = False
    closes_after: bool = False
    """Close the connection after the answer, without a word."""
    goes_away: bool = False
    """Say with the head that no further stream is taken (HTTP/2)."""
    line_end: str = "\n"
    data_field: str = "data: "
    has_comments: bool = False
    text: str | None = None
    """Of each token."""


@dataclass
class Seen:
    """What was asked, in the order in which it came. Times are of CLOCK_MONOTONIC."""

    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    num_connections: int = 0
    num_running: int = 0
    max_running: int = 0
    num_left: int = 0
    """Answers that the client did not wait for."""


class Cut(Exception):
    """The behaviour says that the connection breaks here."""


class Sink(Protocol):
    """Where an answer goes: one request of either protocol."""

    async def head(self, status: int, content_type: str, *, goes_away: bool) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def end(self) -> None: ...

    async def raw(self, data: bytes) -> None: ...


class StubServer:
    """Listening once `serve` has begun; `port` is known then."""

    def __init__(self, behaviour: Behaviour | None = None, *, max_streams: int = 100) -> None:
        self.behaviour = behaviour or Behaviour()
        self.max_streams = max_streams
        self.has_h2 = True
        self.seen = Seen()
        self.port = 0

    async def serve(
        self,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        task_status: anyio.abc.TaskStatus[None],
    ) -> None:
        listener = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=port, backlog=4096
        )
        self.port = listener.extra(SocketAttribute.local_port)
        async with listener:
            task_status.started()
            if tls is None:
                await listener.serve(self._connected)
            else:
                await TLSListener(listener, tls, standard_compatible=False).serve(self._connected)

    async def _connected(self, stream: ByteStream) -> None:
        self.seen.num_connections += 1
        async with stream:
            with contextlib.suppress(*GONE):
                first = await stream.receive()
                if first.startswith(b"PRI") and not self.has_h2:
                    await stream.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                elif first.startswith(b"PRI"):
                    await Http2Side(self, stream).run(first)
                else:
                    await self._serve_http1(stream, first)

    async def _serve_http1(self, stream: ByteStream, data: bytes) -> None:
        while True:
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, data = data.partition(b"\r\n\r\n")
            request_line, *lines = head.decode().split("\r\n")
            method, path, _ = request_line.split(" ")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            length = int(headers.get("content-length", 0))
            while len(data) < length:
                data += await stream.receive()
            body, data = data[:length], data[length:]
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    rest: list[bytes] = []
                    tasks.start_soon(_watch, stream, rest, scope)
                    sink = Http1Sink(stream)
                    key = headers.get("authorization", "")
                    try:
                        keep = await self.answer(method, path, key, body, sink)
                    except Cut:
                        keep = False
                    tasks.cancel_scope.cancel()
            if scope.cancel_called or not keep:
                return
            data += b"".join(rest)

    async def answer(self, method: str, path: str, key: str, body: bytes, sink: Sink) -> bool:
        """False if the connection is to be closed. Raises `Cut`."""
        if method == "GET":
            status, text = self._page(path)
            await sink.head(status, "application/json", goes_away=False)
            await sink.send(text)
            await sink.end()
            return True
        seen = self.seen
        asked = msgspec.json.decode(body)
        seen.paths.append(path)
        seen.bodies.append(asked)
        seen.keys.append(key)
        seen.times_s.append(time.monotonic())
        behaviour = msgspec.convert(
            msgspec.to_builtins(self.behaviour) | asked.get("stub", {}), Behaviour
        )
        seen.num_running += 1
        seen.max_running = max(seen.max_running, seen.num_running)
        try:
            await _Answering(asked, behaviour, "chat" in path, sink).run()
        except (*GONE, asyncio.CancelledError):
            seen.num_left += 1
            raise
        finally:
            seen.num_running -= 1
        return not behaviour.closes_after

    def _page(self, path: str) -> tuple[int, bytes]:
        pages: dict[str, object] = {
            "/v1/models": {"object": "list", "data": [{"id": "stub", "object": "model"}]},
            "/version": {"version": "stub 1"},
            "/seen": self.seen.__dict__,
        }
        if path == "/metrics":
            return 200, b"stub_requests_total %d\n" % len(self.seen.bodies)
        if path not in pages:
            return 404, b'{"error": {"message": "no such page"}}'
        return 200, msgspec.json.encode(pages[path])


async def _watch(stream: ByteStream, rest: list[bytes], scope: anyio.CancelScope) -> None:
    """See the client leave while it is answered; it may also have sent its next request."""
    try:
        while True:
            rest.append(await stream.receive())
    except GONE:
        scope.cancel()


class _Answering:
    """To one request."""

    def __init__(
        self, asked: dict[str, Any], behaviour: Behaviour, is_chat: bool, sink: Sink
    ) -> None:
        self._asked = asked
        self._behaviour = behaviour
        self._is_chat = is_chat
        self._sink = sink
        num_tokens = behaviour.num_tokens
        self._num_tokens = asked.get("max_tokens", 16) if num_tokens is None else num_tokens

    async def run(self) -> None:
        behaviour, sink = self._behaviour, self._sink
        begin_s = time.monotonic()
        await anyio.sleep(behaviour.head_delay_ms / 1e3)
        if behaviour.is_no_http:
            await sink.raw(b"SSH-2.0-no-web-here\r\n\r\n")
            raise Cut
        if behaviour.status != 200:
            await self._whole({"error": {"message": f"stub says {behaviour.status}"}})
        elif not (self._asked.get("stream") and behaviour.is_streamed):
            await self._whole(self._answer())
        else:
            await sink.head(200, "text/event-stream", goes_away=behaviour.goes_away)
            await self._stream(begin_s)
            await sink.end()

    async def _whole(self, answer: dict[str, Any]) -> None:
        await self._sink.head(self._behaviour.status, "application/json", goes_away=False)
        await self._sink.send(msgspec.json.encode(answer))
        await self._sink.end()

    async def _stream(self, begin_s: float) -> None:
        behaviour = self._behaviour
        if self._is_chat:
            await self._event(self._chunk({"role": "assistant", "content": ""}, None))
        for number in range(self._num_tokens):
            due_s = begin_s + (behaviour.delay_ms + number * behaviour.gap_ms) / 1e3
            if (wait_s := due_s - time.monotonic()) > 0:
                await anyio.sleep(wait_s)
            if number == behaviour.cut_after:
                raise Cut
            if number == behaviour.bad_json_after:
                await self._sink.send(b"data: {no json\n\n")
                return
            if number == behaviour.error_after:
                await self._event({"error": {"message": "the stub is out of memory"}})
                return
            await self._event(self._token(number))
        if behaviour.has_reason:
            await self._event(self._chunk({} if self._is_chat else "", "length"))
        if behaviour.has_usage and (self._asked.get("stream_options") or {}).get("include_usage"):
            await self._event({"choices": [], "usage": self._usage()})
        if behaviour.has_done:
            end = behaviour.line_end.encode()
            await self._sink.send(behaviour.data_field.encode() + b"[DONE]" + end + end)

    def _token(self, number: int) -> dict[str, Any]:
        word = self._word(number)
        if not self._is_chat:
            return self._chunk(word, None)
        is_reasoning = number < self._behaviour.num_reasoning_tokens
        return self._chunk({"reasoning_content" if is_reasoning else "content": word}, None)

    def _word(self, number: int) -> str:
        return f" w{number}" if self._behaviour.text is None else self._behaviour.text

    def _chunk(self, text: str | dict[str, Any], reason: str | None) -> dict[str, Any]:
        key = "delta" if self._is_chat else "text"
        return {
            "id": "chatcmpl-0123456789abcdef",
            "object": "chat.completion.chunk" if self._is_chat else "text_completion",
            "created": 1790000000,
            "model": "stub",
            "choices": [{"index": 0, key: text, "logprobs": None, "finish_reason": reason}],
        }

    def _answer(self) -> dict[str, Any]:
        text = "".join(map(self._word, range(self._num_tokens)))
        key: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}
        )
        choice = {"index": 0, "finish_reason": "length", **key}
        return {"id": "x", "choices": [choice], "usage": self._usage()}

    def _usage(self) -> dict[str, Any]:
        prompt = self._asked.get("prompt")
        if isinstance(prompt, list):
            num_prompt = len(prompt)
        else:
            texts = [message["content"] or "" for message in self._asked.get("messages", [])]
            num_prompt = sum(len(text.split()) for text in (*texts, prompt or ""))
        usage: dict[str, Any] = {
            "prompt_tokens": num_prompt,
            "completion_tokens": self._num_tokens,
            "total_tokens": num_prompt + self._num_tokens,
        }
        if self._behaviour.num_cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self._behaviour.num_cached_tokens}
        return usage

    async def _event(self, chunk: dict[str, Any]) -> None:
        behaviour = self._behaviour
        end = behaviour.line_end.encode()
        before = b": still here" + end + end if behaviour.has_comments else b""
        data = behaviour.data_field.encode() + msgspec.json.encode(chunk)
        await self._sink.send(before + data + end + end)


class Http1Sink:
    """Chunked."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def head(self, status: int, content_type: str, *, goes_away: bool) -> None:
        head = f"HTTP/1.1 {status} OK\r\ncontent-type: {content_type}\r\n"
        await self._stream.send(f"{head}transfer-encoding: chunked\r\n\r\n".encode())

    async def send(self, data: bytes) -> None:
        await self._stream.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self._stream.send(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        await self._stream.send(data)


class Http2Side:
    """The server's end of one connection."""

    def __init__(self, server: StubServer, stream: ByteStream) -> None:
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._server = server
        self._stream = stream
        self._lock = anyio.Lock()
        self._requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        self._scopes: dict[int, anyio.CancelScope] = {}

    async def run(self, data: bytes) -> None:
        self.h2.local_settings = Settings(
            client=False,
            initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: self._server.max_streams},
        )
        self.h2.initiate_connection()
        async with anyio.create_task_group() as tasks:
            try:
                while True:
                    for event in self.h2.receive_data(data):
                        self._take(event, tasks)
                    await self.flush()
                    data = await self._stream.receive()
            except (*GONE, h2.exceptions.ProtocolError):
                pass
            tasks.cancel_scope.cancel()

    async def flush(self) -> None:
        async with self._lock:
            if data := self.h2.data_to_send():
                await self._stream.send(data)

    def _take(self, event: h2.events.Event, tasks: TaskGroup) -> None:
        match event:
            case h2.events.RequestReceived():
                headers = {str(name): str(value) for name, value in event.headers or ()}
                self._requests[event.stream_id or 0] = headers, bytearray()
            case h2.events.DataReceived():
                self._requests[event.stream_id or 0][1].extend(event.data or b"")
                self.h2.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id or 0
                )
            case h2.events.StreamEnded():
                tasks.start_soon(self._answer, event.stream_id or 0)
            case h2.events.StreamReset():
                if scope := self._scopes.get(event.stream_id or 0):
                    scope.cancel()
            case _:
                pass

    async def _answer(self, stream_id: int) -> None:
        headers, body = self._requests.pop(stream_id)
        with anyio.CancelScope() as self._scopes[stream_id]:
            try:
                keep = await self._server.answer(
                    headers[":method"],
                    headers[":path"],
                    headers.get("authorization", ""),
                    bytes(body),
                    Http2Sink(self, stream_id),
                )
                if not keep:
                    await self._stream.aclose()
            except Cut:
                self.h2.reset_stream(stream_id, 2)
                await self.flush()
            except (*GONE, h2.exceptions.ProtocolError):
                pass
        del self._scopes[stream_id]


class Http2Sink:
    """One stream."""

    def __init__(self, side: Http2Side, stream_id: int) -> None:
        self._side = side
        self._id = stream_id

    async def head(self, status: int, content_type: str, *, goes_away: bool) -> None:
        self._side.h2.send_headers(
            self._id, [(":status", str(status)), ("content-type", content_type)]
        )
        await self._side.flush()
        if goes_away:  # by hand: h2 would send nothing after it
            last = self._side.h2.highest_inbound_stream_id
            frame = b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + b"\0\0\0\0"
            await self._side._stream.send(frame)

    async def send(self, data: bytes) -> None:
        self._side.h2.send_data(self._id, data)
        await self._side.flush()

    async def end(self) -> None:
        self._side.h2.end_stream(self._id)
        await self._side.flush()

    async def raw(self, data: bytes) -> None:
        await self._side._stream.send(b"\0\0\x01\0\0\0\0\0\0x")  # data of no stream


@contextlib.asynccontextmanager
async def stub_server(
    *, max_streams: int = 100, tls: ssl.SSLContext | None = None, **behaviour: Any
) -> AsyncIterator[StubServer]:
    """One in this process, on a free port."""
    server = StubServer(Behaviour(**behaviour), max_streams=max_streams)

    async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await server.serve(tls=tls, task_status=task_status)

    async with anyio.create_task_group() as tasks:
        await tasks.start(serve)
        yield server
        tasks.cancel_scope.cancel()


async def _main(port: int, behaviour: Behaviour) -> None:
    server = StubServer(behaviour)

    async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await server.serve(port=port, task_status=task_status)

    async with anyio.create_task_group() as tasks:
        await tasks.start(serve)
        print(server.port, flush=True)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()
                return


def main() -> None:
    """Print the port and serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    for one in msgspec.structs.fields(Behaviour):
        parser.add_argument(f"--{one.name.replace('_', '-')}", default=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    port = options.pop("port")
    anyio.run(_main, port, msgspec.convert(options, Behaviour, strict=False))


if __name__ == "__main__":
    main()
