"""`Endpoint`: how one route of an OpenAI-compatible API is asked, and how its answers are read.

Another route is another class and a line in `endpoint_of`; nothing else knows which there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from observability.bench.errors import CannotMeasure
from observability.bench.turn import Turn

if TYPE_CHECKING:
    from observability.bench.plan import EndpointName, Target


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the server counts them; None where it does not tell."""

    num_prompt_tokens: int | None
    num_output_tokens: int | None
    num_cached_tokens: int | None


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What one event says, or one answer that is not streamed."""

    text: str = ""
    reasoning: str = ""
    arguments: str = ""
    """Of tool calls."""
    finish_reason: str = ""
    usage: Usage | None = None
    error: str = ""


class Earlier(msgspec.Struct, frozen=True):
    """A turn that was answered."""

    turn: Turn
    answer: str
    """Without its reasoning."""


class Endpoint(Protocol):
    """One route. It holds nothing: all that it knows is given to it."""

    path: str
    """From `/v1` on."""

    def body(self, turn: Turn, history: list[Earlier], target: Target) -> bytes:
        """The JSON of a request. Raises `CannotMeasure` if the route cannot ask that."""
        ...

    def read(self, event: bytes) -> Piece:
        """Of one event's payload. Raises `msgspec.DecodeError` if it is none of this API's."""
        ...


class ChatEndpoint:
    """`/v1/chat/completions`."""

    path = "/v1/chat/completions"

    def body(self, turn: Turn, history: list[Earlier], target: Target) -> bytes:
        messages: list[dict[str, object]] = []
        for earlier in history:
            _add_turn(messages, earlier.turn)
            messages.append({"role": "assistant", "content": earlier.answer})
        _add_turn(messages, turn)
        return _encode(turn, target, {"messages": messages})

    def read(self, event: bytes) -> Piece:
        return _read(event)


class CompletionsEndpoint:
    """`/v1/completions`. Ids are sent alone: what is before them has none that are known."""

    path = "/v1/completions"

    def body(self, turn: Turn, history: list[Earlier], target: Target) -> bytes:
        prompt: str | list[int]
        if turn.token_ids is not None:
            prompt = turn.token_ids
        else:
            before = [_prompt(earlier.turn) + earlier.answer for earlier in history]
            prompt = "".join([*before, _prompt(turn)])
        return _encode(turn, target, {"prompt": prompt})

    def read(self, event: bytes) -> Piece:
        return _read(event)


def endpoint_of(name: EndpointName) -> Endpoint:
    """By the name that the command line knows."""
    endpoints: dict[EndpointName, Endpoint] = {
        "chat": ChatEndpoint(),
        "completions": CompletionsEndpoint(),
    }
    return endpoints[name]


def _add_turn(messages: list[dict[str, object]], turn: Turn) -> None:
    if turn.messages is not None:
        messages[:] = turn.messages
        return
    if turn.text is None:
        raise CannotMeasure("chat takes texts, no token ids; measure --endpoint completions")
    if turn.system is not None:
        messages.append({"role": "system", "content": turn.system})
    messages.append({"role": "user", "content": turn.text})


def _prompt(turn: Turn) -> str:
    if turn.messages is not None:
        raise CannotMeasure("completions take texts, no messages; measure --endpoint chat")
    return (turn.system or "") + (turn.text or "")


def _encode(turn: Turn, target: Target, prompt: dict[str, object]) -> bytes:
    fields = {
        "model": target.model,
        **prompt,
        "max_tokens": turn.num_output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return msgspec.json.encode(fields | target.body)


class _Function(msgspec.Struct):
    arguments: str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: object = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    """Of both routes, streamed or not; all may be missing or null."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: object = None
    kind: str | None = msgspec.field(default=None, name="object")
    message: str | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


def _read(event: bytes) -> Piece:
    chunk = _CHUNK.decode(event)
    choices = chunk.choices
    if not choices or chunk.usage or chunk.error or len(choices) > 1:
        return _read_any(chunk)
    choice = choices[0]
    delta = choice.delta
    if delta and delta.content and not choice.finish_reason and not delta.tool_calls:
        return Piece(delta.content)  # by far the most
    return _read_any(chunk)


def _read_any(chunk: _Chunk) -> Piece:
    if chunk.error or chunk.kind == "error":
        return Piece(error=error_text(chunk.error or chunk.message))
    text, reasoning, arguments, finish_reason = "", "", "", ""
    for choice in chunk.choices or ():
        text += choice.text or ""
        if delta := choice.delta or choice.message:
            text += (delta.content or "") + (delta.refusal or "")
            reasoning += delta.reasoning_content or delta.reasoning or ""  # the same by two names
            for call in delta.tool_calls or ():
                arguments += (call.function and call.function.arguments) or ""
        finish_reason = str(choice.finish_reason or finish_reason)
    usage = None
    if chunk.usage:
        details = chunk.usage.prompt_tokens_details
        usage = Usage(
            num_prompt_tokens=chunk.usage.prompt_tokens,
            num_output_tokens=chunk.usage.completion_tokens,
            num_cached_tokens=details.cached_tokens if details else None,
        )
    return Piece(text, reasoning, arguments, finish_reason, usage)


def error_text(said: object) -> str:
    """The message in a server's error, which may be a text, an object, or hold either."""
    if isinstance(said, dict):
        for name in ("error", "message", "detail"):
            if said.get(name):
                return error_text(said[name])
    return said if isinstance(said, str) else msgspec.json.encode(said).decode()
