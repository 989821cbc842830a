"""`probe`: looks at a server with a few plain requests before it is measured.

Which model it has, whether it takes `ignore_eos`, and how many tokens its chat template adds to a
text: with that, prompts have exactly the length that was asked for, as the server counts.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from observability.bench.ask import ask
from observability.bench.errors import CannotAsk, CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Callable

    from observability.bench.plan import Target

_TEXT = "the time of the day"
_SYSTEM = "the name of the place"
_MAX_SHOWN = 300


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out. Numbers of tokens are None if the server tells no usage."""

    takes_ignore_eos: bool
    num_extra_tokens: int | None
    """That the template adds to one text."""
    num_extra_tokens_with_system: int | None
    """To a system message and a text, over both. None for completions, too."""
    version: str = ""


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Version(msgspec.Struct):
    version: str


def first_model(url: str, api_key: str | None, *, is_insecure: bool) -> str:
    """The first of the server's models. Raises `CannotAsk`, `CannotMeasure`."""
    status, body = ask(url, "/v1/models", api_key=api_key, is_insecure=is_insecure)
    if status == 401:
        raise CannotMeasure(f"{url} wants the right key: give it with --api-key")
    try:
        models = msgspec.json.decode(body, type=_Models).data
    except (msgspec.DecodeError, msgspec.ValidationError):
        models = []
    if not models:
        raise CannotMeasure(
            f"{url}/v1/models names no model (it answers {status}); name one with --model"
        )
    return models[0].id


def probe(target: Target, api_key: str | None, count: Callable[[str], int] | None) -> ServerFacts:
    """Ask a few short questions; without `count` no number of tokens becomes known.

    Raises `CannotAsk`, `CannotMeasure`.
    """
    takes_ignore_eos = True
    try:
        total = _num_prompt_tokens(target, api_key, None, {"ignore_eos": True})
    except CannotMeasure:
        takes_ignore_eos = False
        total = _num_prompt_tokens(target, api_key, None, {})
    both = None
    if target.endpoint == "chat" and count is not None:
        with suppress(CannotMeasure):  # a template without system messages
            both = _num_prompt_tokens(target, api_key, _SYSTEM, {})
    return ServerFacts(
        takes_ignore_eos=takes_ignore_eos,
        num_extra_tokens=total - count(_TEXT) if count and total else None,
        num_extra_tokens_with_system=(
            both - count(_TEXT) - count(_SYSTEM) if count and both else None
        ),
        version=_version_of(target, api_key),
    )


def _num_prompt_tokens(
    target: Target, api_key: str | None, system: str | None, fields: dict[str, object]
) -> int | None:
    body: dict[str, object] = {"model": target.model, "max_tokens": 1} | target.body | fields
    if target.endpoint == "chat":
        messages = [{"role": "user", "content": _TEXT}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        body["messages"] = messages
        path = "/v1/chat/completions"
    else:
        body["prompt"] = _TEXT
        path = "/v1/completions"
    status, answer = ask(
        target.url,
        path,
        body=msgspec.json.encode(body),
        api_key=api_key,
        is_insecure=target.is_insecure,
        timeout_s=target.timeout_s,
    )
    if status != 200:
        said = answer[:_MAX_SHOWN].decode(errors="replace")
        raise CannotMeasure(f"{target.url}{path} answers {status}: {said}")
    try:
        usage = msgspec.json.decode(answer, type=_Answer).usage
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise CannotMeasure(f"{target.url}{path} answers something that is no JSON") from None
    return usage.prompt_tokens if usage else None


def _version_of(target: Target, api_key: str | None) -> str:
    try:
        status, body = ask(target.url, "/version", api_key=api_key, is_insecure=target.is_insecure)
        return msgspec.json.decode(body, type=_Version).version if status == 200 else ""
    except (CannotAsk, msgspec.DecodeError, msgspec.ValidationError):
        return ""
