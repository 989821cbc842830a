"""The chat route alone over a fake engine, and a client that sees each message of its answer."""

from __future__ import annotations

import functools
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from engine.config import EngineConfig
from engine.models.registry import resolve
from engine.text.prompt_encoder import PromptEncoder
from engine.text.templates.chat_template import ChatTemplate
from observability.trace_context import TraceContext
from service.answering import AnswerLimits
from service.api.chat import ChatApi
from service.exchange import SCOPE_KEY, Exchange
from service.generation import Generator
from service.middleware.errors import ErrorMiddleware, error_handlers
from service.models.manager import ModelManager
from service.models.registry import ModelRegistry, RegisteredModel
from service.served_model import ServedModel, load_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from engine.client import EngineClient
    from service.api.completions import CompletionsApi
    from tests.fakes import FakeEngine

MODEL = "kvorum-mini"
USER = [{"role": "user", "content": "Hi"}]


@functools.cache
def served_model() -> ServedModel:
    return load_text(resolve())


_THINKING = """
{%- if reasoning_effort %}{{ 'Effort: ' + reasoning_effort + '\n' }}{% endif %}
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}
{%- if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}
{{- m.content + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}
{%- endif %}"""


@functools.cache
def thinking_model() -> ServedModel:
    """The embedded model under a template of models that think before they answer."""
    template = ChatTemplate({"default": _THINKING}, {})
    return ServedModel(served_model().card, PromptEncoder(served_model().tokenizer, template))


def ids_of(text: str) -> list[int]:
    return served_model().tokenizer.encode(text)


def body_of(**fields: object) -> bytes:
    return json.dumps({"model": MODEL, "messages": USER} | fields).encode()


def manager_of(client: EngineClient, model: ServedModel) -> ModelManager:
    """Of one model, which the engine loads by itself."""
    registered = RegisteredModel(config=EngineConfig(model.card), load_text=lambda: model)
    return ModelManager(ModelRegistry([registered]), lambda: client, model)


class RouteApp:
    """ASGI application of one route, whatever the path; `exchanges` are in the order of the
    requests."""

    def __init__(self, client: EngineClient, api: ChatApi | CompletionsApi) -> None:
        self.client = client
        self.exchanges: list[Exchange] = []
        self._app: ASGIApp = Starlette(
            routes=[Route("/{path:path}", api.create, methods=["POST"])],
            exception_handlers=error_handlers(),
            middleware=[Middleware(ErrorMiddleware)],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = TraceContext.from_headers(None, None, lambda n: b"\x07" * n)
        scope[SCOPE_KEY] = Exchange(request_id="req_1", trace=trace, start_ns=1)
        self.exchanges.append(scope[SCOPE_KEY])
        await self._app(scope, receive, send)


class ChatApp(RouteApp):
    """The chat route."""

    def __init__(
        self, client: EngineClient, limits: AnswerLimits, model: ServedModel, **options: Any
    ) -> None:
        super().__init__(client, ChatApi(Generator(manager_of(client, model), **options), limits))


@asynccontextmanager
async def chat_app(
    engine: FakeEngine,
    limits: AnswerLimits | None = None,
    model: ServedModel | None = None,
    **options: Any,
) -> AsyncIterator[ChatApp]:
    async with engine() as client:
        yield ChatApp(client, limits or AnswerLimits(), model or served_model(), **options)


class Call:
    """One request. It is sent by `run`; `leave` hangs up."""

    def __init__(
        self,
        app: ASGIApp,
        body: bytes | Sequence[bytes],
        headers: Iterable[tuple[str, str]] = (("content-type", "application/json"),),
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.num_messages = 0
        self.is_complete = False
        self._app = app
        self._chunks = [body] if isinstance(body, bytes) else list(body)
        self._headers = [(name.encode(), value.encode()) for name, value in headers]
        self._left = anyio.Event()
        self._changed = anyio.Event()

    async def run(self) -> Call:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "root_path": "",
            "headers": self._headers,
            "server": ("testserver", 80),
            "client": ("testclient", 1),
        }
        await self._app(scope, self._receive, self._send)
        return self

    def leave(self) -> None:
        self._left.set()

    async def wait_for_body(self, part: bytes) -> None:
        with anyio.fail_after(5):
            while part not in self.body:
                self._changed = anyio.Event()
                await self._changed.wait()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each event; "[DONE]" as it is."""
        lines = [part for part in self.body.decode().split("\n\n") if part.startswith("data: ")]
        data = [line.removeprefix("data: ") for line in lines]
        return [item if item == "[DONE]" else json.loads(item) for item in data]

    @property
    def text(self) -> str:
        """The content of a stream, joined."""
        chunks = [item for item in self.events if item != "[DONE]"]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", [])]
        return "".join(delta.get("content") or "" for delta in deltas)

    async def _receive(self) -> Message:
        if self._chunks:
            chunk = self._chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.num_messages += 1
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.is_complete = not message.get("more_body", False)
        self._changed.set()

    def text_of(self, choice: int) -> str:
        """The content of one choice of a stream, joined."""
        return "".join(d.get("content") or "" for d in self.deltas_of(choice))

    def deltas_of(self, choice: int) -> list[Any]:
        """What the chunks of one choice of a stream add, in their order."""
        chunks = [item for item in self.events if item != "[DONE]"]
        choices = [each for chunk in chunks for each in chunk.get("choices", [])]
        return [each["delta"] for each in choices if each["index"] == choice]


async def post(app: ASGIApp, **fields: object) -> Call:
    with anyio.fail_after(10):
        return await Call(app, body_of(**fields)).run()
