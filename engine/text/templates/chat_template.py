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
from engine.text.model_files import read_json_object, read_text, special_token_texts
from engine.text.templates.final_message import FinalMessage
from engine.text.templates.limited_sandbox import LimitedSandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Message = Mapping[str, object]

DEFAULT_MAX_CHARS = 16_000_000
"""Four times the largest JSON body: room for a template's own words, none for a bomb."""

DEFAULT_MAX_RENDER_S = 2.0
"""A thousand times what a long chat takes."""

_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
_MAX_MESSAGE_CHARS = 2000
_MAX_DATE_CHARS = 1000
_ESCAPED_PRIVATE = re.compile(r"\\u(db[89a-f][0-9a-f])\\u(d[c-f][0-9a-f]{2})")


class ChatTemplate:
    """One model's template, or its two: one for chats with tools, one for those without.

    `clock` serves `strftime_now` only (Llama's templates write the date).
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        special_tokens: Mapping[str, str],
        *,
        max_chars: int = DEFAULT_MAX_CHARS,
        max_render_s: float = DEFAULT_MAX_RENDER_S,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Compile `sources` (named "default" and maybe "tool_use"; others are ignored).

        `special_tokens` are their texts by name (`bos_token`, ...). A rendering that takes longer
        than `max_render_s`, or makes a larger text than `max_chars`, fails.

        Raises TemplateMissing without a "default", TemplateFailed if one does not compile.
        """
        if "default" not in sources:
            raise TemplateMissing(
                "the model has several chat templates but none is named 'default'"
                if sources
                else "the model has no chat template; take its chat or instruct version"
            )
        self._environment = _environment(max_chars, max_render_s, clock)
        self.sources = {n: sources[n] for n in ("default", "tool_use") if n in sources}
        self._special_tokens = dict(special_tokens)
        self._compiled = {n: _compile(self._environment, s) for n, s in self.sources.items()}
        self.variables: frozenset[str] = frozenset().union(
            *map(self._environment.variables, self.sources.values())
        )
        """The names that the templates read: a `render` argument of another name has no effect."""

    @classmethod
    def from_folder(
        cls,
        path: Path,
        *,
        max_chars: int = DEFAULT_MAX_CHARS,
        max_render_s: float = DEFAULT_MAX_RENDER_S,
        clock: Callable[[], datetime] = datetime.now,
    ) -> ChatTemplate:
        """The template of a model folder.

        chat_template.jinja, with additional_chat_templates/*.jinja beside it, goes before
        tokenizer_config.json's "chat_template". Raises TemplateMissing or TemplateFailed.
        """
        config = read_json_object(path / "tokenizer_config.json")
        sources = _sources_of_folder(path, config)
        return cls(
            sources,
            special_token_texts(path),
            max_chars=max_chars,
            max_render_s=max_render_s,
            clock=clock,
        )

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
        continue_final_message: bool = False,
        **kwargs: object,
    ) -> str:
        """The text of a chat. `messages` and `tools` are plain JSON data; content is a string.

        With `continue_final_message` it ends with the content of the final message, for the model
        to go on with, and there is no generation prompt. `kwargs` are further template variables;
        which of them a client may set is the caller's to decide.

        Raises TemplateRejected with the template's own words, or if the final message cannot be
        continued; TemplateFailed for any other fault, the limits of time and size included.
        """
        name = "tool_use" if tools is not None and "tool_use" in self._compiled else "default"
        prepared = [self._renamed(_prepared(message)) for message in messages]
        final = FinalMessage(prepared) if continue_final_message else None
        context = {
            **self._special_tokens,
            **kwargs,
            "messages": prepared if final is None else final.messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt and final is None,
        }
        rendered = self._rendered(self._compiled[name], context)
        return rendered if final is None else final.cut(rendered)

    def _rendered(self, template: jinja2.Template, context: Mapping[str, object]) -> str:
        try:
            return self._environment.render(template, context)
        except _Rejected as error:
            raise TemplateRejected(_brief(error)) from None
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
            raise TemplateFailed(f"the chat template failed: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    """A template can put all of a chat into its words."""
    text = str(error)
    return text if len(text) <= _MAX_MESSAGE_CHARS else f"{text[:_MAX_MESSAGE_CHARS]}..."


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

    def __repr__(self) -> str:
        return "<namespace>"  # jinja2 would print all that is in it, and follow every reference


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot store {name!r}")


def _environment(
    max_chars: int, max_render_s: float, clock: Callable[[], datetime]
) -> LimitedSandbox:
    def raise_exception(message: str) -> NoReturn:
        raise _Rejected(message)

    def strftime_now(form: str) -> str:
        if len(form) > _MAX_DATE_CHARS:
            raise jinja2.exceptions.SecurityError("a chat template writes very long dates")
        return clock().strftime(form)

    environment = LimitedSandbox(max_chars, max_render_s)
    environment.set_filter("tojson", _to_json)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    environment.globals["dict"] = _PlainDict()
    environment.globals["namespace"] = _PlainNamespace
    return environment


def _compile(environment: LimitedSandbox, source: str) -> jinja2.Template:
    try:
        return environment.from_string(source)
    # Python's own compiler has limits, too; an error of jinja2's is none of Python's.
    except (jinja2.TemplateSyntaxError, SyntaxError, RecursionError, MemoryError) as error:
        raise TemplateFailed(f"the chat template does not compile: {_brief(error)}") from error


@jinja2.pass_environment
def _to_json(
    environment: LimitedSandbox,
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
    num_indent = len(indent) if isinstance(indent, str) else indent or 0
    if num_indent > 64:
        raise jinja2.exceptions.SecurityError("tojson indents by more than 64 characters")
    environment.weigh(value, num_indent)
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
