"""Messages to text, by the template that came with the model.

Templates come from the model folder only, never from a request, and are compiled once. The result
equals `apply_chat_template(..., tokenize=False)` of transformers 5. It knows nothing of tokens.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

import jinja2
from jinja2.utils import Namespace

from engine.text.errors import TemplateFailed, TemplateMissing, TemplateRejected
from engine.text.limited_sandbox import LimitedSandbox
from engine.text.model_files import read_json_object, read_text, special_token_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Message = Mapping[str, object]

DEFAULT_MAX_CHARS = 16_000_000
"""Four times the largest JSON body: room for a template's own words, none for a bomb."""

_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
_ESCAPED_PRIVATE = re.compile(r"\\u(db[89a-f][0-9a-f])\\u(d[c-f][0-9a-f]{2})")


class ChatTemplate:
    """One model's template, or its two: one for chats with tools, one for those without.

    `clock` serves `strftime_now` only (Llama's templates write the date).
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        variables: Mapping[str, str],
        *,
        max_chars: int = DEFAULT_MAX_CHARS,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Compile `sources` (named "default" and maybe "tool_use"; others are ignored).

        Raises TemplateMissing without a "default", TemplateFailed if one does not compile.
        """
        if "default" not in sources:
            raise TemplateMissing(
                "the model has several chat templates but none is named 'default'"
                if sources
                else "the model has no chat template; take its chat or instruct version"
            )
        environment = _environment(max_chars, clock)
        self.sources = {n: sources[n] for n in ("default", "tool_use") if n in sources}
        self._variables = dict(variables)
        self._compiled = {n: _compile(environment, s) for n, s in self.sources.items()}

    @classmethod
    def from_folder(
        cls,
        path: Path,
        *,
        max_chars: int = DEFAULT_MAX_CHARS,
        clock: Callable[[], datetime] = datetime.now,
    ) -> ChatTemplate:
        """The template of a model folder.

        chat_template.jinja, with additional_chat_templates/*.jinja beside it, goes before
        tokenizer_config.json's "chat_template". Raises TemplateMissing or TemplateFailed.
        """
        config = read_json_object(path / "tokenizer_config.json")
        sources = _sources_of_folder(path, config)
        return cls(sources, special_token_texts(path), max_chars=max_chars, clock=clock)

    def _renamed(self, message: dict[str, object]) -> dict[str, object]:
        """Few templates know the role "developer"; to the others it is "system", its older name."""
        if message.get("role") != "developer" or "developer" in self.source:
            return message
        return {**message, "role": "system"}

    @property
    def source(self) -> str:
        """The text of the template that a chat with tools gets."""
        return self.sources.get("tool_use", self.sources["default"])

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        **kwargs: object,
    ) -> str:
        """The text of a chat. `messages` and `tools` are plain JSON data; content is a string.

        `kwargs` are further template variables; which of them a client may set is the caller's
        to decide. Raises TemplateRejected with the template's own words, TemplateFailed for any
        other fault, the size limit included.
        """
        name = "tool_use" if tools is not None and "tool_use" in self._compiled else "default"
        context = {
            **self._variables,
            **kwargs,
            "messages": [self._renamed(_prepared(message)) for message in messages],
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._compiled[name].render(context)
        except _Rejected as error:
            raise TemplateRejected(str(error)) from None
        # A template is foreign code: it can raise whatever its filters and methods raise.
        except (
            jinja2.TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise TemplateFailed(f"the chat template failed: {error}") from error


class _Rejected(jinja2.TemplateError):
    """Raised by `raise_exception` inside a template."""


class _PlainDict:
    """`dict(...)` and `dict.fromkeys(...)` for templates, without the class behind them."""

    def __call__(self, *args: Mapping[str, object], **kwargs: object) -> dict[str, object]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Sequence[str], value: object = None) -> dict[str, object]:
        return dict.fromkeys(keys, value)


class _PlainNamespace(Namespace):
    """`namespace(...)` that stores no underscore names, as transformers' does not."""

    def __init__(*args: object, **kwargs: object) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _refuse_private(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: object) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot store {name!r}")


def _environment(max_chars: int, clock: Callable[[], datetime]) -> LimitedSandbox:
    def raise_exception(message: str) -> NoReturn:
        raise _Rejected(message)

    environment = LimitedSandbox(max_chars)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: clock().strftime(form)
    environment.globals["dict"] = _PlainDict()
    environment.globals["namespace"] = _PlainNamespace
    return environment


def _compile(environment: LimitedSandbox, source: str) -> jinja2.Template:
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFailed(f"the chat template does not compile: {error}") from error


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """transformers' `tojson`: no HTML escapes, and the options of json.dumps.

    Characters of the two private planes stay as they are even with `ensure_ascii`: a disguised
    control token (see `disguise`) must come out recognisable.
    """
    if (len(indent) if isinstance(indent, str) else indent or 0) > 64:
        raise jinja2.exceptions.SecurityError("tojson indents by more than 64 characters")
    text = json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return _ESCAPED_PRIVATE.sub(_unescaped, text) if ensure_ascii else text


def _unescaped(match: re.Match[str]) -> str:
    high, low = (int(digits, 16) for digits in match.groups())
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _prepared(message: Message) -> dict[str, object]:
    """A message as transformers hands it to templates: no None values, reasoning under all names."""
    plain = {key: value for key, value in message.items() if value is not None}
    reasoning = next((plain[field] for field in _REASONING_FIELDS if field in plain), None)
    if reasoning is None:
        return plain
    return {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _sources_of_folder(path: Path, config: Mapping[str, object]) -> dict[str, str]:
    main = path / "chat_template.jinja"
    if main.is_file():
        extra = sorted((path / "additional_chat_templates").glob("*.jinja"))
        return {"default": read_text(main)} | {file.stem: read_text(file) for file in extra}
    written = config.get("chat_template")
    if isinstance(written, str):
        return {"default": written}
    if isinstance(written, list):
        named = (entry for entry in written if isinstance(entry, dict))
        return {str(entry.get("name")): str(entry.get("template")) for entry in named}
    return {}
